"""Trained policies of environments on disk: ``weights.safetensors`` and ``config.json``; no pickle."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from sweepstack.models import checksums
from sweepstack.models.errors import BundleError
from sweepstack.models.files import as_json, read_json, reason_of
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.mlp import ActorCritic, Interface
from sweepstack.models.settings.trial import Model
from sweepstack.models.tasks.gymnasium.environment import Spaces, make

FORMAT = 1


def save_agent(folder: Path, policy: ActorCritic, environment: str) -> None:
    config = {
        "format": FORMAT,
        "kind": "environment",
        "environment": environment,
        "interface": vars(policy.interface),
        "model": policy.model.model_dump(),
        "normalize": policy.moments is not None,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in policy.state_dict().items()}
    checksums.put(folder, {"config.json": as_json(config), "weights.safetensors": save(weights)})


class Agent:
    """The policy of a checkpoint, to play on: it takes what the environment shows, and says what to do there."""

    def __init__(self, policy: ActorCritic, environment: str) -> None:
        self.policy, self.environment = policy, environment
        made = make(environment)
        self._spaces = Spaces(environment, made.observation_space, made.action_space)
        made.close()

    @torch.no_grad()
    def act(self, observation: Any) -> Any:
        """The likeliest action, as ``env.step`` takes it."""
        device = next(self.policy.parameters()).device
        shown = torch.from_numpy(self._spaces.encode(observation)).to(device)
        if self.policy.moments is not None:
            shown = self.policy.moments(shown)
        return self._spaces.decode(self.policy.choose(shown, None).cpu().numpy())


def load_agent(folder: Path, device: str = "auto") -> Agent:
    """Raises BundleError where ``folder`` holds none, DamagedError where a file has changed, StudyError where its
    environment is not installed."""
    checksums.check_below(folder)
    try:
        config = read_json(folder / "config.json")
        if config["format"] != FORMAT or config["kind"] != "environment":
            raise ValueError(f"format {config['format']!r} of kind {config['kind']!r} is not known")
        model = Model.model_validate(config["model"])
        policy = ActorCritic(Interface(**config["interface"]), model, normalize=config["normalize"])
        policy.load_state_dict(load_file(folder / "weights.safetensors"))
        environment = str(config["environment"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{folder} holds no policy that can be loaded ({reason_of(error)}); copy or export it again"
        ) from error
    return Agent(policy.to(pick_device(device)).eval(), environment)

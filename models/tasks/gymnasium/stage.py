"""The one stage of a trial in an environment: a policy with nothing learned yet, and policy optimisation."""

import copy
from pathlib import Path

from torch.nn import Parameter

from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.mlp import new_actor_critic
from sweepstack.models.optim.optimizers import make_optimizer
from sweepstack.models.rl.algorithms import needs_reference
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.gymnasium.checkpoint import save_agent
from sweepstack.models.tasks.gymnasium.environment import open_copies
from sweepstack.models.tasks.gymnasium.episodes import EnvironmentPlayer
from sweepstack.models.tasks.gymnasium.reward_scale import RewardScale
from sweepstack.models.training.lockstep import shape_of, train_together
from sweepstack.models.training.second_stage import Optimisation, Reports, so_far


class EnvironmentStage:
    """A trainer.Stage; raises StudyError where the environment cannot be made."""

    def __init__(self, settings: TrialSettings, metric: str) -> None:
        assert settings.environment is not None
        train, self._environment = settings.train, settings.environment
        copies = open_copies(self._environment, train.env.copies)
        seed = derive_seed(train.seed, "initial weights")
        policy = new_actor_critic(copies.spaces.interface, settings.model, seed, normalize=train.env.normalize)
        self._policy = policy.to(pick_device(settings.device))
        # Alone, too: a trial in an environment must round as it does beside others, or it comes to something else.
        self._in_lockstep = shape_of(settings) is not None
        self._metric, self._episodes = metric, train.env.eval_episodes
        scale = RewardScale(len(copies), train.gamma) if train.env.normalize_reward else None
        self._player = EnvironmentPlayer(self._policy, copies, train.env.steps, scale)
        learned = {name: p for name, p in self._policy.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(train, learned, supervised=False)
        reference = None
        if needs_reference(train):
            as_it_was = copy.deepcopy(self._policy).requires_grad_(False)
            reference = EnvironmentPlayer(as_it_was, copies, train.env.steps)
        self.optimisation = Optimisation(train, self._player, list(learned.values()), self.optimizer, reference)
        counted = {name: p for name, p in self._policy.named_parameters() if not p.requires_grad}
        of_rewards = {} if scale is None else {f"reward_scale.{name}": p for name, p in scale.named_parameters()}
        self.trained: dict[str, Parameter] = {**learned, **counted, **of_rewards}

    def train(self, epoch: int, reports: Reports) -> dict[str, float]:
        if not self._in_lockstep:
            return self.told(self.optimisation.epoch(epoch, reports, self._metric), reports)
        (outcome,) = train_together([self.optimisation], [reports], self._metric)
        if isinstance(outcome, Exception):
            raise outcome
        return self.told(outcome, reports)

    def told(self, logs: dict[str, float], reports: Reports) -> dict[str, float]:
        """What an epoch has logged, with what was played in it."""
        returns, decisions = self._player.returns, sum(self._player.sizes(int(logs["batch_size"])))
        played = {"train_reward": sum(returns) / len(returns)} if returns else {}
        return {**logs, **played, **so_far(reports, episodes=len(returns), decisions=decisions)}

    def score(self) -> dict[str, float]:
        return self._player.score(self._episodes)

    def keep(self, folder: Path) -> None:
        save_agent(folder / "checkpoint", self._policy, self._environment)

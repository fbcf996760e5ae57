"""Gymnasium's environments by their ids: spaces as vectors, and copies stepped side by side.

The copies are stepped one after another in this process: those that a policy of this size learns from are cheap, and
gymnasium's own vector environment costs more than it brings. A copy whose episode ends begins the next one in the same
step, so that every step is a decision, and hands over the state in which the episode ended.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.errors import StudyError
from sweepstack.models.networks.mlp import Interface

if TYPE_CHECKING:
    from gymnasium import Env, Space

LONGEST = 10_000  # decisions of an evaluated episode, where the environment itself has no limit
Vectors = NDArray[np.float32]
Choose = Callable[[Vectors], NDArray[Any]]
"""States (M, observation) → actions (M, …)"""


def make(environment: str) -> "Env[Any, Any]":
    """The environment of that id, without rendering; raises StudyError where there is none that can be played."""
    if ":" in environment:
        raise StudyError(
            f"task gym:{environment} would import a module, which a study file may not; "
            "name an environment that an installed package registers"
        )
    try:
        import gymnasium
    except ImportError:
        raise StudyError(
            f'task gym:{environment} needs the package gymnasium; run pip install "sweepstack[gym]"'
        ) from None
    if environment not in gymnasium.registry:
        nearest = difflib.get_close_matches(environment, gymnasium.registry, n=1, cutoff=0.0)
        raise StudyError(f"task gym:{environment} is no environment that is installed; nearest: gym:{nearest[0]}")
    try:
        return gymnasium.make(environment, disable_env_checker=True)
    except Exception as error:  # whatever a registered environment needs and does not find
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"task gym:{environment} cannot be made: {reason[:300]}") from error


def describe(environment: str) -> dict[str, Any]:
    """Makes it once; raises StudyError where it cannot be made, or where no policy here could play it."""
    made = make(environment)
    try:
        interface = Spaces(environment, made.observation_space, made.action_space).interface
    finally:
        made.close()
    return {
        "id": environment,
        "observation": f"a vector of {interface.observation}",
        "action": f"a vector of {interface.actions}" if interface.continuous else f"one of {interface.actions} actions",
        "max_episode_steps": None if made.spec is None else made.spec.max_episode_steps,
    }


class Spaces:
    """What an environment shows and takes, as vectors and back: a Box is flattened, everything discrete is one-hot."""

    def __init__(self, environment: str, observations: "Space[Any]", actions: "Space[Any]") -> None:
        from gymnasium import spaces

        self._observations, self._actions = observations, actions
        if not observations.is_np_flattenable:
            raise StudyError(
                f"task gym:{environment} shows {type(observations).__name__}, which is no vector of a fixed size; "
                "take another environment"
            )
        self._plain = isinstance(observations, spaces.Box)
        size = spaces.flatdim(observations)
        if isinstance(actions, spaces.Discrete):
            self.interface = Interface(size, int(actions.n), continuous=False)
            self._first = int(actions.start)
        elif isinstance(actions, spaces.Box) and np.issubdtype(actions.dtype, np.floating):
            self.interface = Interface(size, spaces.flatdim(actions), continuous=True)
        else:
            raise StudyError(
                f"task gym:{environment} takes actions of the kind {actions}, and policies here choose one of several, "
                "or a vector of numbers; take another environment"
            )

    def encode(self, observation: Any) -> Vectors:
        """(observation,)"""
        if self._plain:
            return np.asarray(observation, dtype=np.float32).reshape(-1)
        from gymnasium.spaces import flatten

        return np.asarray(flatten(self._observations, observation), dtype=np.float32)

    def decode(self, action: Any) -> Any:
        """What the environment takes; numbers beyond its bounds become the bounds."""
        if not self.interface.continuous:
            return int(action) + self._first
        box: Any = self._actions
        return np.clip(np.reshape(action, box.shape), box.low, box.high).astype(box.dtype)


class Step(NamedTuple):
    """What one step of all copies (B,) has come to."""

    observations: Vectors  # (B, observation): the states to act in next
    rewards: Vectors  # (B,)
    ended: list[tuple[int, bool, Vectors]]  # copies whose episodes did: whether terminated, and the last state


class Copies:
    """``environments`` of one kind; see :func:`open_copies`."""

    def __init__(self, environments: Sequence["Env[Any, Any]"], spaces: Spaces) -> None:
        self.environments, self.spaces = environments, spaces

    def __len__(self) -> int:
        return len(self.environments)

    def reset(self, seeds: Sequence[int]) -> Vectors:
        """Begins an episode in every copy, each from its seed: (B, observation)."""
        begun = [each.reset(seed=seed)[0] for each, seed in zip(self.environments, seeds, strict=True)]
        return np.stack([self.spaces.encode(observation) for observation in begun])

    def step(self, actions: NDArray[Any]) -> Step:
        observations = np.empty((len(self), self.spaces.interface.observation), dtype=np.float32)
        rewards = np.empty(len(self), dtype=np.float32)
        ended = []
        for i, environment in enumerate(self.environments):
            seen, reward, terminated, truncated, _ = environment.step(self.spaces.decode(actions[i]))
            rewards[i] = reward
            if terminated or truncated:
                ended.append((i, bool(terminated), self.spaces.encode(seen)))
                seen, _ = environment.reset()
            observations[i] = self.spaces.encode(seen)
        return Step(observations, rewards, ended)

    def play(self, choose: Choose, seeds: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Whole episodes, one from each seed: their returns and lengths, (episodes,) each.

        What was going on in the copies is given up.
        """
        returns = np.zeros(len(seeds))
        lengths = np.zeros(len(seeds), dtype=np.int64)
        spec = self.environments[0].spec
        limited = spec is not None and spec.max_episode_steps is not None
        waiting = iter(range(len(seeds)))
        playing: dict[int, tuple[int, Vectors]] = {}  # by copy: the episode, and the state to act in

        def begin(copy: int) -> None:
            episode = next(waiting, None)
            playing.pop(copy, None)
            if episode is not None:
                observation, _ = self.environments[copy].reset(seed=seeds[episode])
                playing[copy] = episode, self.spaces.encode(observation)

        for copy in range(len(self)):
            begin(copy)
        while playing:
            copies = list(playing)
            actions = choose(np.stack([observation for _, observation in playing.values()]))
            for copy, action in zip(copies, actions, strict=True):
                episode, _ = playing[copy]
                seen, reward, terminated, truncated, _ = self.environments[copy].step(self.spaces.decode(action))
                returns[episode] += float(reward)
                lengths[episode] += 1
                if terminated or truncated or (not limited and lengths[episode] >= LONGEST):
                    begin(copy)
                else:
                    playing[copy] = episode, self.spaces.encode(seen)
        return returns, lengths

    def close(self) -> None:
        for environment in self.environments:
            environment.close()


def open_copies(environment: str, copies: int) -> Copies:
    """Raises StudyError as :func:`make`."""
    made = [make(environment) for _ in range(copies)]
    return Copies(made, Spaces(environment, made[0].observation_space, made[0].action_space))

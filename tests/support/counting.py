"""An environment to check by hand: it counts, whatever is done in it.

The episodes after a reset with a seed last three steps each and end in turn by termination and by truncation. A state
is (the seed, 10 · the episode + the step), a reward 1 plus the action.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

LENGTH = 3


class Counting(gymnasium.Env[Any, Any]):
    def __init__(self, endless: bool = False, actions: Any = None) -> None:
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = Discrete(3) if actions is None else actions
        self.endless = endless
        self.taken: list[Any] = []
        self.begun: int | None = None
        self.seeds: list[int] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.begun, self.episode = seed, -1
            self.seeds.append(seed)
        self.episode += 1
        self.time = 0
        return self._state(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.taken.append(action)
        self.time += 1
        over = self.time == LENGTH and not self.endless
        reward = 1.0 + float(np.sum(action))
        return self._state(), reward, over and self.episode % 2 == 0, over and self.episode % 2 == 1, {}

    def _state(self) -> Any:
        return np.array([self.begun, 10 * self.episode + self.time], dtype=np.float64)

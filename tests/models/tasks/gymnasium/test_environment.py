"""Environments by id are played or refused in one line; spaces are vectors; copies begin anew where episodes end."""

import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from counting import Counting
from gymnasium import spaces

from sweepstack.models.errors import StudyError
from sweepstack.models.tasks.gymnasium import environment as environments
from sweepstack.models.tasks.gymnasium.environment import Copies, Spaces, describe, make, open_copies


def copies_of(number: int, **changes: Any) -> Copies:
    made = [Counting(**changes) for _ in range(number)]
    return Copies(made, Spaces("Counting", made[0].observation_space, made[0].action_space))


@pytest.fixture
def broken() -> Iterator[str]:
    def entry() -> None:
        raise ModuleNotFoundError("No module named\n'physics'")

    gymnasium.register("Broken-v0", entry_point=entry)
    yield "Broken-v0"
    del gymnasium.registry["Broken-v0"]


def refused(environment: str) -> str:
    with pytest.raises(StudyError) as caught:
        describe(environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_id_names_the_nearest() -> None:
    assert refused("CartPol-v1") == (
        "task gym:CartPol-v1 is no environment that is installed; nearest: gym:CartPole-v1"
    )
    assert "nearest: gym:" in refused("")


def test_a_study_file_imports_no_module() -> None:
    before = set(sys.modules)
    assert "would import a module" in refused("antigravity:CartPole-v1")
    assert "antigravity" not in set(sys.modules) - before


def test_a_missing_gymnasium_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    assert 'pip install "sweepstack[gym]"' in refused("CartPole-v1")


def test_what_an_environment_lacks_is_said(broken: str) -> None:
    assert refused(broken) == "task gym:Broken-v0 cannot be made: No module named 'physics'"


def test_environments_are_described() -> None:
    assert describe("CartPole-v1") == {
        "id": "CartPole-v1", "observation": "a vector of 4", "action": "one of 2 actions", "max_episode_steps": 500
    }  # fmt: skip
    assert describe("Pendulum-v1")["action"] == "a vector of 1"
    assert describe("CliffWalking-v1")["max_episode_steps"] is None


def test_nothing_is_rendered() -> None:
    made = make("CartPole-v1")
    assert made.render_mode is None
    made.close()


@pytest.mark.parametrize(
    ("space", "observation", "vector"),
    [
        (spaces.Box(0, 1, (2, 2), np.float32), [[0.0, 0.25], [0.5, 1.0]], [0.0, 0.25, 0.5, 1.0]),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([0, 255], np.uint8), [0.0, 255.0]),
        (spaces.Discrete(3, start=5), 6, [0.0, 1.0, 0.0]),
        (spaces.MultiBinary(2), np.array([1, 0]), [1.0, 0.0]),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]), (1, 0), [0.0, 1.0, 1.0, 0.0, 0.0]),
    ],
)
def test_observations_are_vectors(space: Any, observation: Any, vector: list[float]) -> None:
    found = Spaces("X", space, spaces.Discrete(2))
    assert found.interface.observation == len(vector)
    encoded = found.encode(observation)
    assert encoded.dtype == np.float32
    assert encoded.tolist() == vector


def test_actions_are_what_the_environment_takes() -> None:
    plain = spaces.Box(0, 1, (1,))
    one_of = Spaces("X", plain, spaces.Discrete(3, start=-1))
    assert [one_of.decode(np.int64(action)) for action in range(3)] == [-1, 0, 1]
    box = spaces.Box(np.array([[-1.0, -np.inf]], np.float32), np.array([[1.0, np.inf]], np.float32))
    numbers = Spaces("X", plain, box)
    assert (numbers.interface.actions, numbers.interface.continuous) == (2, True)
    action = numbers.decode(np.array([-3.0, 7.0], np.float32))
    assert box.contains(action)
    assert action.tolist() == [[-1.0, 7.0]]


@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (spaces.Graph(spaces.Box(0, 1, (1,)), None), spaces.Discrete(2)),
        (spaces.Sequence(spaces.Discrete(2)), spaces.Discrete(2)),
        (spaces.Box(0, 1, (1,)), spaces.MultiDiscrete([2, 2])),
        (spaces.Box(0, 1, (1,)), spaces.Box(0, 5, (1,), np.int32)),
    ],
)
def test_what_no_policy_here_can_play_is_refused(observations: Any, actions: Any) -> None:
    with pytest.raises(StudyError, match=r"task gym:X .*take another environment"):
        Spaces("X", observations, actions)


def test_a_copy_begins_anew_in_the_step_in_which_its_episode_ends() -> None:
    """Gymnasium's vector environments would play a step that does nothing instead."""
    copies = copies_of(2)
    assert copies.reset([4, 5]).tolist() == [[4, 0], [5, 0]]
    seen, rewards, ended = [], [], []
    for t in range(7):
        step = copies.step(np.array([t % 3, 0]))
        seen.append(step.observations[:, 1].tolist())
        rewards.append(step.rewards.tolist())
        ended += [(t, copy, terminated, last.tolist()) for copy, terminated, last in step.ended]
    assert seen == [[1, 1], [2, 2], [10, 10], [11, 11], [12, 12], [20, 20], [21, 21]]
    assert rewards == [[1 + t % 3, 1] for t in range(7)]
    assert ended == [
        (2, 0, True, [4, 3]), (2, 1, True, [5, 3]), (5, 0, False, [4, 13]), (5, 1, False, [5, 13])
    ]  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 5])
def test_every_episode_is_played_from_its_seed_whoever_plays_it(number: int) -> None:
    copies = copies_of(number)
    returns, lengths = copies.play(lambda seen: (seen[:, 0] % 3).astype(int), [0, 1, 2, 4])
    assert returns.tolist() == [3, 6, 9, 6]
    assert lengths.tolist() == [3, 3, 3, 3]
    assert sum(len(each.taken) for each in copies.environments) == 12, "and nothing is played besides"  # type: ignore[attr-defined]


def test_an_endless_episode_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "LONGEST", 7)
    returns, lengths = copies_of(2, endless=True).play(lambda seen: np.zeros(len(seen), int), [1, 2, 3])
    assert returns.tolist() == lengths.tolist() == [7, 7, 7]


def test_a_time_limit_of_its_own_counts() -> None:
    copies = open_copies("CartPole-v1", 2)
    returns, lengths = copies.play(lambda seen: (seen[:, 2] + 0.3 * seen[:, 3] > 0).astype(int), [0, 1, 2])
    assert returns.tolist() == lengths.tolist()
    assert lengths.max() <= 500
    assert lengths.max() > 150, "leaning against the fall balances well"
    copies.close()

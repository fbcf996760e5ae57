from pathlib import Path

import numpy as np
import pytest

from sweepstack.ensembles.evaluation.verdict import company, decide, percent, singles
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.scoring.bootstrap import Sample


@pytest.mark.parametrize(("gain", "exported"), [(0.0, "trial-0"), (0.004, "trial-0"), (0.03, "mix")])
def test_eighty_per_cent_decide(gain: float, exported: str) -> None:
    random = np.random.default_rng(0)
    rival = random.normal(size=1000)
    noise = random.normal(size=1000)
    values = {"trial-0": rival, "mix": rival + 0.2 * (noise - noise.mean()) + gain}
    samples = {name: Sample.mean_of(each) for name, each in values.items()}
    assert decide(["mix"], ["trial-0"], samples, "reward", 0)[0] == exported


def test_the_best_member_stands_alone_where_nothing_is_bounded() -> None:
    assert singles((4, 7, 9), max, lambda place: {}, bounded=True) == ([(9, (4, 7, 9))], None)
    assert singles((), max, lambda place: {}, bounded=True) == ([], None)


def test_beside_the_best_stands_the_best_that_fits() -> None:
    def excess(place: int) -> dict[str, float]:
        return {"size_mb": place / 6} if place > 6 else {}

    assert singles((4, 5, 7, 9), max, excess, bounded=True) == ([(9, (4, 5, 7, 9)), (5, (4, 5))], None)
    assert singles((4, 5, 7, 9), max, excess, bounded=False) == ([(9, (4, 5, 7, 9))], None)


def test_beside_the_best_stands_the_cheapest_where_none_fits() -> None:
    def excess(place: int) -> dict[str, float]:
        return {"size_mb": place / 2}

    assert singles((4, 5), max, excess, bounded=True) == ([(5, (4, 5)), (4, ())], 2.0)
    assert singles((4,), max, excess, bounded=True) == ([(4, (4,))], 2.0)


def test_what_a_single_member_is_in_the_table() -> None:
    kinds = ["trial", "trial", "baseline", "control", "pipeline", "pipeline", "refit"]
    names = ["trial-0", "trial-1", "linear", "supervised-0", "naive_bayes", "char_linear", "refit-a"]
    members = [Member(name, kind, Path(name)) for name, kind in zip(names, kinds, strict=True)]  # type: ignore[arg-type]
    methods = {"trial": "trial", "baseline": "linear", "control": "supervised"}
    assert company(members, methods, {"trial-1": "constant"}) == [  # type: ignore[arg-type]
        ("trial", "trial", (0, 1)),
        ("baseline", "linear", (2,)),
        ("baseline", "naive_bayes", (4,)),
        ("baseline", "char_linear", (5,)),
        ("control", "supervised", (3,)),
        ("control", "constant", (1,)),
    ]


def test_an_average_that_is_worse_than_its_own_control_is_not_exported() -> None:
    """Right on .940 of 750 rows of blend, its best trial on .912, the baseline on .908, the control alone on .948."""
    wrong = {"average": 45, "trial-1": 66, "linear": 69, "supervised-2": 39}
    right = {name: (np.arange(750) >= count).astype(float) for name, count in wrong.items()}
    samples = {name: Sample.mean_of(each) for name, each in right.items()}
    chosen, reason = decide(["average"], ["trial-1", "linear", "supervised-2"], samples, "accuracy", 0)
    assert chosen == "supervised-2"
    assert reason == (
        "supervised-2 is exported: the best ensemble, average, is better than every single member with a probability "
        "of 5%, the choice among 4 counted; 80% is needed (blend accuracy .940 against .948 of "
        "supervised-2)."
    )
    assert decide(["average"], ["trial-1", "linear"], samples, "accuracy", 0)[0] == "average"


def singles_right(**right: int) -> dict[str, Sample]:
    """Of a thousand rows each is right on the first so many, and on a share of the rest that is its own."""
    return {name: Sample.mean_of((np.arange(1000) < count).astype(float)) for name, count in right.items()}


def test_of_single_members_with_the_same_score_the_smaller_is_exported() -> None:
    samples = singles_right(trial_1=940, linear=940)
    sizes = {"trial_1": 4.0, "linear": 1.0}
    chosen, reason = decide([], ["trial_1", "linear"], samples, "accuracy", 0, sizes)
    assert chosen == "linear"
    assert reason == "linear is exported: nothing was combined, and it has the best blend accuracy, .940."
    assert decide([], ["trial_1", "linear"], samples, "accuracy", 0, {"trial_1": 1.0, "linear": 4.0})[0] == "trial_1"
    assert decide([], ["trial_1", "linear"], samples, "accuracy", 0)[0] == "trial_1"  # sizes that nobody measured
    mixed = {**samples, "mix": samples["linear"]}  # an ensemble that is no better
    assert decide(["mix"], ["trial_1", "linear"], mixed, "accuracy", 0, sizes)[0] == "linear"


def test_a_smaller_single_member_that_scores_less_is_not_exported() -> None:
    samples = singles_right(trial_1=941, linear=940)
    assert decide([], ["trial_1", "linear"], samples, "accuracy", 0, {"trial_1": 4.0, "linear": 1.0})[0] == "trial_1"


def test_a_probability_is_not_rounded_up_to_what_is_needed() -> None:
    assert [percent(chance) for chance in (0.0, 0.0099, 0.7999, 0.8, 0.83, 0.9899, 0.999, 1.0)] == [
        "less than 1%", "less than 1%", "79%", "80%", "83%", "98%", "over 99%", "over 99%",
    ]  # fmt: skip

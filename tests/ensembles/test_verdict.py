import numpy as np
import pytest

from sweepstack.ensembles.comparison import Sample
from sweepstack.ensembles.verdict import decide, singles


@pytest.mark.parametrize(("gain", "exported"), [(0.0, "trial-0"), (0.004, "trial-0"), (0.03, "mix")])
def test_eighty_per_cent_decide(gain: float, exported: str) -> None:
    random = np.random.default_rng(0)
    rival = random.normal(size=1000)
    noise = random.normal(size=1000)
    values = {"trial-0": rival, "mix": rival + 0.2 * (noise - noise.mean()) + gain}
    samples = {name: Sample.mean_of(each) for name, each in values.items()}
    assert decide(["mix"], ["trial-0"], samples, "reward", 0)[0] == exported


def test_the_best_member_stands_alone_where_nothing_is_bounded() -> None:
    assert singles((4, 7, 9), max, lambda place: {}, bound=True) == ([(9, (4, 7, 9))], None)
    assert singles((), max, lambda place: {}, bound=True) == ([], None)


def test_beside_the_best_stands_the_best_that_fits() -> None:
    def excess(place: int) -> dict[str, float]:
        return {"size_mb": place / 6} if place > 6 else {}

    assert singles((4, 5, 7, 9), max, excess, bound=True) == ([(9, (4, 5, 7, 9)), (5, (4, 5))], None)
    assert singles((4, 5, 7, 9), max, excess, bound=False) == ([(9, (4, 5, 7, 9))], None)


def test_beside_the_best_stands_the_cheapest_where_none_fits() -> None:
    def excess(place: int) -> dict[str, float]:
        return {"size_mb": place / 2}

    assert singles((4, 5), max, excess, bound=True) == ([(5, (4, 5)), (4, ())], 2.0)
    assert singles((4,), max, excess, bound=True) == ([(4, (4,))], 2.0)

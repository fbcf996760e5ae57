from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.ensemble import CHUNK, Ensemble
from sweepstack.ensembles.combinations.stop import Stop
from sweepstack.models.predictions.probabilities import Predictions


@dataclass(frozen=True)
class Fixed:
    """Says ``sure`` of class 0 for a text that is a number, after as many segments as its last digit."""

    sure: float
    asked: list[int] = field(default_factory=list)
    costs: list[float | None] = field(default_factory=list)
    classes: tuple[str, ...] = ("a", "b")
    conditioned: bool = False

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        self.costs.append(cost)
        self.asked.append(len(texts))
        n_segments = np.array([int(text[-1]) + 1 for text in texts])
        shape = (len(texts), int(n_segments.max()))
        probabilities = np.empty((*shape, 2), np.float32)
        probabilities[..., 0], probabilities[..., 1] = self.sure, 1 - self.sure
        last = np.arange(shape[1]) >= n_segments[:, None] - 1
        return Predictions(probabilities, last.astype(np.float32), n_segments)


def test_texts_are_read_by_all_members_in_chunks_and_come_back_in_order() -> None:
    members = (Fixed(0.9), Fixed(0.5))
    texts = [str(i) for i in range(2 * CHUNK + 10)]
    read = list(Ensemble(members, Combination((0, 1), np.array([0.5, 0.5], np.float32))).read(texts))
    assert [len(predictions) for predictions in read] == [CHUNK, CHUNK, 10]
    assert members[0].asked == members[1].asked == [CHUNK, CHUNK, 10]
    n_segments = np.concatenate([predictions.n_segments for predictions in read])
    np.testing.assert_array_equal(n_segments, [i % 10 + 1 for i in range(len(texts))])
    np.testing.assert_allclose(read[0].probabilities[..., 0], 0.7, rtol=1e-6)


def test_a_cost_is_told_to_every_member_and_then_their_averaged_answers_count() -> None:
    """A threshold of the ensemble's own, which .7 does not reach, was fitted at one cost only."""
    members = (Fixed(0.9, conditioned=True), Fixed(0.5, conditioned=True))
    fitted = Combination((0, 1), np.array([0.5, 0.5], np.float32), stop=Stop(0.6))
    ensemble = Ensemble(members, fitted)
    assert ensemble.conditioned
    assert next(ensemble.read(["3"])).stops().tolist() == [0]
    assert next(ensemble.read(["3"], 0.02)).stops().tolist() == [3]
    assert members[0].costs == members[1].costs == [None, 0.02]
    assert not Ensemble((Fixed(0.9, conditioned=True), Fixed(0.5)), fitted).conditioned


def test_no_texts_are_no_chunks() -> None:
    assert list(Ensemble((Fixed(0.9),), Combination((0,), np.ones(1, np.float32))).read([])) == []

"""What an ensemble that writes is judged by: a metric of a whole part, and how sure a figure or a difference of it is.

BLEU and chrF of a corpus are functions of counts summed over its rows, so a bootstrap is one matrix product (Koehn
2004), and paired: the same rows are drawn for every ensemble. The reward of a study is a mean over rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sweepstack.ensembles.members.similarity import pairwise
from sweepstack.ensembles.scoring.bootstrap import Sample, Values
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.predictions.text_metrics import score_of, statistics
from sweepstack.models.settings.writing import LAGGING

Reward = Callable[[Sequence[str], Sequence[str] | None, Sequence[str]], Values]
CORPUS_METRICS = ("chrf", "bleu")
CORPUS_BOUNDS = (0.0, 100.0)


def judged_by(metric: str) -> str:
    """The metric that ensembles are chosen by where trials are by ``metric``: texts alone tell no likelihood."""
    return metric if metric in (*CORPUS_METRICS, "reward") else "chrf"


@dataclass(frozen=True)
class TextObjective:
    metric: str  # chrf, bleu or reward; of all three more is better
    language: str  # of the references, see text_metrics
    reward: Reward | None = None  # (sources, references, texts) → (rows,), as in models/rl/rewards.py
    cost: float = 0.0  # that a word of lagging takes from the reward
    bounds: tuple[float, float] | None = None  # of the reward without lagging; None where it has none

    def __post_init__(self) -> None:
        if self.metric not in self.metrics_known:
            raise ValueError(f"metric must be one of {', '.join(self.metrics_known)}, but got {self.metric!r}")

    @property
    def metrics_known(self) -> tuple[str, ...]:
        return CORPUS_METRICS if self.reward is None else (*CORPUS_METRICS, "reward")

    @property
    def of_sentences(self) -> str:
        """What tells candidates of one row apart: the metric itself where it is BLEU or chrF, else chrF."""
        return self.metric if self.metric in CORPUS_METRICS else "chrf"

    def samples(
        self,
        sources: Sequence[str],
        references: Sequence[str],
        texts: Sequence[str],
        lagging: Sequence[float] | None = None,
        groups: Ints | None = None,
    ) -> dict[str, Sample]:
        """What each metric is worked out from; the rows of all are the same. ``lagging`` (rows,): in words, of texts
        that were written while a source was read. ``groups``: see Sample."""
        found = {}
        for metric in CORPUS_METRICS:
            counts = statistics(texts, references, self.language, metric).astype(np.float64)
            found[metric] = Sample(
                counts, partial(_of_means, rows=len(counts), metric=metric), groups, CORPUS_BOUNDS, graded=True
            )
        behind = None if lagging is None else np.asarray(lagging, dtype=np.float64)
        if behind is not None:
            found[LAGGING] = Sample.mean_of(behind, groups)
        if self.reward is not None:
            rewards = np.asarray(self.reward(sources, references, texts), dtype=np.float64)
            if behind is None:
                found["reward"] = Sample.mean_of(rewards, groups, self.bounds)
            else:
                found["reward"] = Sample.mean_of(rewards - self.cost * behind, groups)
        return found

    def metrics(self, sources: Sequence[str], references: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
        return {name: sample.score for name, sample in self.samples(sources, references, texts).items()}

    def score(self, sources: Sequence[str], references: Sequence[str], texts: Sequence[str]) -> float:
        return self.samples(sources, references, texts)[self.metric].score

    def of_candidates(
        self, sources: Sequence[str], references: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> list[Values]:
        """For each row the metric of each candidate alone, (n,); BLEU is smoothed."""
        if self.metric == "reward" and self.reward is not None:
            sizes = [len(texts) for texts in candidates]
            rows = np.repeat(np.arange(len(sizes)), sizes).tolist()
            flat = [text for texts in candidates for text in texts]
            values = self.reward([sources[i] for i in rows], [references[i] for i in rows], flat)
            return np.split(np.asarray(values, dtype=np.float64), np.cumsum(sizes)[:-1])
        pools = [[*texts, reference] for texts, reference in zip(candidates, references, strict=True)]
        return [utility[:-1, -1] for utility in pairwise(pools, self.of_sentences, self.language)]

    def remembering(self) -> "TextObjective":
        """The same, which asks for the reward of a text only once."""
        return self if self.reward is None else replace(self, reward=Remembered(self.reward))


class Remembered:
    """A reward that may take long to find, a classifier's say, of texts that come again in every fold."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self._found: dict[tuple[str, str | None, str], float] = {}

    def __call__(self, sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        keys = list(zip(sources, [None] * len(texts) if references is None else references, texts, strict=True))
        new = [place for place, key in enumerate(keys) if key not in self._found]
        if new:
            of_new = None if references is None else [references[place] for place in new]
            values = self._reward([sources[place] for place in new], of_new, [texts[place] for place in new])
            self._found.update((keys[place], float(value)) for place, value in zip(new, values, strict=True))
        return np.array([self._found[key] for key in keys], dtype=np.float64)


def half_widths(samples: dict[str, Sample]) -> dict[str, float]:
    """Half of the 95% interval of each metric that is known so well."""
    halves = {name: sample.half_width for name, sample in samples.items()}
    return {name: half for name, half in halves.items() if np.isfinite(half)}


def _of_means(means: Values, rows: int, metric: str) -> Values:
    """Smoothing looks at counts, not at their means."""
    return np.asarray(score_of(means * rows, metric), dtype=np.float64)

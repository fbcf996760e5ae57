"""What a text is worth to a policy that writes: a few functions of a text, its source and its reference, summed.

Each is a :class:`Reward` between 0 and 1, by the names and options of settings/rewards.py; a new one is a function here
and an entry there. A sum is of as many of them, by their weights.
"""

import importlib
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.errors import StudyError
from sweepstack.models.predictions.text_metrics import REMEMBERED, sentence_bleu, sentence_chrf
from sweepstack.models.recent import Recent
from sweepstack.models.settings.rewards import KINDS, LARGEST_REWARD, PATH, Term, parse_reward

Values = NDArray[np.float64]
Classifier = Callable[[Sequence[str]], NDArray[Any]]


class Reward(Protocol):
    def __call__(self, sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        """(rows,): of each text; ``references`` may be None where the reward does without."""
        ...


@dataclass(frozen=True)
class Around:
    """What a reward may know of a study: the language that is written, and the classifier of its bundle."""

    language: str
    classifier: Classifier | None = None


@dataclass(frozen=True)
class WeightedSum:
    """Of rewards, by their weights: what :func:`make_reward` makes. Raises StudyError where it needs references and
    there are none, or where a reward is no number."""

    terms: tuple[tuple[Term, Reward], ...]

    @property
    def reference_free(self) -> bool:
        """Whether it does without references."""
        return not any(KINDS[term.name].needs_reference for term, _ in self.terms)

    def __call__(self, sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        total = np.zeros(len(texts), dtype=np.float64)
        for term, reward in self.terms:
            if references is None and KINDS[term.name].needs_reference:
                raise StudyError(f"{PATH}: {term.name} needs references, and these rows have none; take another reward")
            total += term.weight * _checked(reward(sources, references, texts), len(texts), term)
        return total


def make_reward(spec: Any, language: str, classifier: Classifier | None = None) -> WeightedSum:
    """Of ``writing.reward``, for texts in ``language`` (see text_metrics). ``classifier`` gives the probabilities
    (rows,) of the label that reward classifier names.

    Raises SettingError where ``spec`` is impossible, StudyError where a function cannot be imported or reward
    classifier has no classifier.
    """
    around = Around(language, classifier)
    return WeightedSum(tuple((term, MAKERS[term.name](term.options, around)) for term in parse_reward(spec)))


def _checked(values: Any, rows: int, term: Term) -> Values:
    named = f"{PATH}: {term.options.get('name', term.name)}"
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise StudyError(f"{named} must give {rows} numbers, but gave {type(values).__name__}; mend it") from None
    if found.shape != (rows,):
        raise StudyError(f"{named} must give {rows} numbers, one a text, but gave the shape {found.shape}; mend it")
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        raise StudyError(f"{named} must give finite numbers, but gave {found[row]} for text {row}; mend it")
    if (np.abs(found) > LARGEST_REWARD).any():
        row = int(np.abs(found).argmax())
        raise StudyError(
            f"{named} gave {found[row]:g} for text {row}, which is too large to learn from; scale it to about 1"
        )
    return found


def _chrf(options: Mapping[str, Any], around: Around) -> Reward:
    """Sentence chrF with the reference."""

    def reward(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        assert references is not None
        return sentence_chrf(texts, references)

    return reward


def _bleu(options: Mapping[str, Any], around: Around) -> Reward:
    """Smoothed sentence BLEU with the reference."""

    def reward(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        assert references is not None
        return sentence_bleu(texts, references, around.language)

    return reward


def _similarity(options: Mapping[str, Any], around: Around) -> Reward:
    """Cosine with the reference of how often two to five neighbouring characters stand in a text, 1 + ln(n)."""

    def reward(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        assert references is not None
        return np.array([_cosine(*pair) for pair in zip(texts, references, strict=True)], dtype=np.float64)

    return reward


def _cosine(text: str, reference: str) -> float:
    other, of_reference = _frequencies_of_references(reference)
    one, length = (other, of_reference) if text == reference else _frequencies(text)
    shared = math.fsum(one[gram] * other[gram] for gram in one.keys() & other.keys())
    return min(shared / (length * of_reference), 1.0) if shared else 0.0


def _frequencies(text: str) -> tuple[dict[str, float], float]:
    """Of each character n-gram, and the length of the vector that they make."""
    line = " ".join(text.lower().split())
    counts = Counter(line[i : i + n] for n in (2, 3, 4, 5) for i in range(len(line) - n + 1))
    found = {gram: 1 + math.log(count) for gram, count in counts.items()}
    return found, math.sqrt(math.fsum(value**2 for value in found.values()))


_frequencies_of_references = Recent(_frequencies, lambda counted: len(counted[0]), REMEMBERED)


def _length(options: Mapping[str, Any], around: Around) -> Reward:
    """1 from ``low`` to ``high`` words, or characters where words have no spaces between them; below, falling to 0 at
    none, above, at twice ``high``."""
    low, high = float(options["low"]), float(options["high"])

    def reward(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        lengths = np.array([len(units(text, around.language)) for text in texts], dtype=np.float64)
        return np.minimum(np.minimum(lengths / low, 2 - lengths / high), 1.0).clip(0, None)

    return reward


def _repetition(options: Mapping[str, Any], around: Around) -> Reward:
    """The share of neighbouring pairs of words that differ from each other: 1 where nothing is said twice, and 0 of an
    empty text, which would otherwise be the best one."""

    def share(text: str) -> float:
        words = units(text, around.language)
        pairs = list(pairwise(words))
        return len(set(pairs)) / len(pairs) if pairs else float(bool(words))

    return lambda sources, references, texts: np.array([share(text) for text in texts], dtype=np.float64)


def _matches(options: Mapping[str, Any], around: Around) -> Reward:
    """1 where the regular expression is found in the text, else 0."""
    pattern = re.compile(options["pattern"])
    return lambda sources, references, texts: np.array([pattern.search(t) is not None for t in texts], dtype=np.float64)


def _classifier(options: Mapping[str, Any], around: Around) -> Reward:
    """The probability that a classifier gives the text's label."""
    classify = around.classifier
    if classify is None:
        raise StudyError(f"{PATH}.classifier: the bundle {options['bundle']} is not loaded here; run it in a study")
    return lambda sources, references, texts: classify(texts)


def _function(options: Mapping[str, Any], around: Around) -> Reward:
    """Whatever the user's own function gives for (sources, references, texts)."""
    module, _, name = options["name"].partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module of the user's raises
        reason = " ".join(str(error).split())[:200]
        raise StudyError(
            f"{PATH}.function: {options['name']} cannot be imported ({reason}); "
            "check its name, and that its folder is on PYTHONPATH"
        ) from error
    if not callable(found):
        raise StudyError(f"{PATH}.function: {options['name']} is no function but {found!r}")

    def reward(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> Values:
        try:
            values: Values = found(sources, references, texts)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise StudyError(f"{PATH}.function: {options['name']} failed ({reason}); mend it") from error
        return values

    return reward


def units(text: str, language: str) -> list[str]:
    """The words of a text; its characters, where words have no spaces between them."""
    return [*"".join(text.split())] if language in ("zh", "ja") else text.split()


MAKERS: dict[str, Callable[[Mapping[str, Any], Around], Reward]] = {
    "chrf": _chrf,
    "bleu": _bleu,
    "similarity": _similarity,
    "length": _length,
    "repetition": _repetition,
    "matches": _matches,
    "classifier": _classifier,
    "function": _function,
}


RewardOf = Callable[[str], Reward]
"""Of a language, the reward that ``writing.reward`` names: given by whoever knows the bundles that it may name."""

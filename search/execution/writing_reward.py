"""The reward of a study whose policies write, made in the process that asks for it.

``writing.reward`` may name the bundle of a classifier, which models/ knows nothing of: it is loaded here, once a
process, and its probability of a label is handed over as a function of texts.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.checksums import digest_of_bundle
from sweepstack.models.errors import StudyError, SweepstackError
from sweepstack.models.settings.rewards import PATH, parse_reward

if TYPE_CHECKING:
    from sweepstack.ensembles.bundles.bundle import Bundle
    from sweepstack.models.rl.rewards import Reward
    from sweepstack.search.study.study import Study


@dataclass(frozen=True)
class RewardOf:
    """Goes to other processes as it is. ``spec``: of ``writing.reward``."""

    spec: Any

    def __call__(self, language: str) -> "Reward":
        """The reward of texts in ``language``; raises what stands in the way, see :func:`check_reward`."""
        from sweepstack.models.rl.rewards import make_reward

        return make_reward(self.spec, language, self._classifier())

    def _classifier(self) -> "Probability | None":
        named = next((term.options for term in parse_reward(self.spec) if term.name == "classifier"), None)
        return None if named is None else classifier(named["bundle"], named["label"])


@dataclass(frozen=True)
class Probability:
    """Of ``label`` by the bundle in ``folder``. Goes to other processes as these two, and finds the bundle there: a
    bundle that has been loaded cannot be sent."""

    folder: str
    label: str

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(texts,)"""
        bundle = _bundle(self.folder)
        return np.asarray(
            bundle.predict_proba(list(texts))[:, list(map(str, bundle.classes)).index(self.label)], dtype=np.float64
        )


def classifier(folder: str, label: str) -> Probability:
    """What the bundle in ``folder`` gives ``label``; raises StudyError where it cannot."""
    bundle = _bundle(folder)
    names = list(map(str, bundle.classes))
    if label not in names:
        known = ", ".join(names)
        raise StudyError(f"{PATH}.classifier.label: {folder} has the labels {known}, but got {label!r}")
    return Probability(folder, label)


@functools.lru_cache(maxsize=1)
def _bundle(folder: str) -> "Bundle":
    from sweepstack.ensembles import load
    from sweepstack.ensembles.bundles.bundle import Bundle

    try:
        found = load(folder)
    except (SweepstackError, OSError) as error:
        raise StudyError(f"{PATH}.classifier.bundle: {error}") from error
    if not isinstance(found, Bundle):
        raise StudyError(f"{PATH}.classifier.bundle: {folder} writes texts and gives no labels; name a classifier's")
    return found


def reward_of(study: "Study") -> RewardOf | None:
    """None where nothing is written."""
    return None if study.writing is None else RewardOf(study.writing.reward)


def reward_hash(study: "Study") -> str | None:
    """Of the bundle that rewards texts, if one does."""
    spec = None if study.writing is None else study.writing.reward
    named = next((term.options for term in parse_reward(spec) if term.name == "classifier"), None) if spec else None
    return None if named is None else digest_of_bundle(Path(named["bundle"]))


def check_reward(study: "Study") -> None:
    """Raises StudyError, or what a reward's own parts raise, where the reward of ``study`` cannot be made."""
    made = reward_of(study)
    if made is not None:
        made("en")  # what it needs besides the texts does not depend on their language

"""What population-based training asks of a study, checked before anything starts."""

from sweepstack.models.settings.base import SettingError
from sweepstack.search.study.search_section import PBTStopper, Search
from sweepstack.search.study.space import Space

LASTING = (
    "train.warm_start.",
    "train.algorithm",
    "train.freeze",
    "train.optimizer",
    "train.epochs",
    "train.seed",
    "train.ppo.kl_target",
    "train.env.normalize",
    "train.momentum",
    "train.decay_all",
    "train.average",
)
"""What begins so stays as it is in a lineage: it decides on shapes, on what is trained or on where training began."""


def may_change(path: str) -> bool:
    """Whether the setting ``path`` may take another value in the middle of training."""
    return path.startswith("train.") and not path.startswith(LASTING)


def check(search: Search, epochs: int, space: Space) -> None:
    """Raises SettingError where ``search`` wants a population that cannot be trained."""
    if not isinstance(search.stopper, PBTStopper):
        return
    size, interval = search.stopper.pbt.population, search.stopper.pbt.interval
    generations = epochs // interval
    if search.sampler == "grid":
        raise SettingError(
            "search.sampler", "grid visits every point once, and pbt changes settings as it goes; use random or qmc"
        )
    if "train.epochs" in space.paths():
        raise SettingError("space.train.epochs", "cannot be searched under pbt: all members share it; take it out")
    if epochs % interval:
        raise SettingError(
            "search.stopper.pbt.interval",
            f"must divide train.epochs, {epochs}, but got {interval}; a lineage trains all of them",
        )
    if not any(map(may_change, space.paths())):
        raise SettingError(
            "space", "needs a setting of train that pbt may change while it trains, train.lr or train.gamma say"
        )
    whole = size * generations
    if search.trials != whole:
        raise SettingError(
            "search.trials",
            f"must be {whole} under pbt ({size} members, {generations} generations to come to train.epochs, "
            f"{epochs}), but got {search.trials}",
        )

"""The `search:` section of a study file: where the next trial looks, when one is stopped, and when all of them end."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from sweepstack.models.settings.base import Count, NonNegative, Positive, Seed, SettingError, Settings, shown
from sweepstack.search.study.as_written import nearest_word

ONE_OBJECTIVE = ("cmaes", "bayes")  # samplers that can look for the best of one objective only
ENSEMBLE_GAIN = "ensemble_gain"  # what a sampler may look for beside the metrics of a trial
LEARNS_ANEW = ("tpe", "gp", "bayes")  # samplers that learn from all trials whenever they are asked
STOPPERS = ("none", "asha", "hyperband", "median", "pbt")


class ASHA(Settings):
    min_epochs: Count = 1  # before the first rung
    reduction: Annotated[int, Field(ge=2)] = 2  # one trial in so many goes on from each rung


class Hyperband(Settings):
    """Brackets of successive halving with the trials shared out among them, each beginning a rung later."""

    min_epochs: Count = 1
    reduction: Annotated[int, Field(ge=2)] = 3


class Median(Settings):
    min_epochs: Count = 1  # a trial is not judged before
    min_trials: Count = 4  # nor before so many others have come as far


class PBT(Settings):
    """Population-based training: ``search.trials`` is the population times the generations."""

    population: Annotated[int, Field(ge=2)] = 4
    interval: Count = 1  # epochs of a generation
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25  # so many at the bottom go on from so many at the top
    resample: Annotated[float, Field(ge=0, le=1)] = 0.25  # how often a value is drawn anew instead of perturbed


class ASHAStopper(Settings):
    asha: ASHA = ASHA()


class HyperbandStopper(Settings):
    hyperband: Hyperband = Hyperband()


class MedianStopper(Settings):
    median: Median = Median()


class PBTStopper(Settings):
    pbt: PBT = PBT()


StopperSettings = Literal["none"] | ASHAStopper | HyperbandStopper | MedianStopper | PBTStopper


def _stopper(value: Any) -> Any:
    """``asha`` is short for ``{asha: {}}``, and so for the others."""
    if isinstance(value, Settings) or value == "none":
        return value
    near = nearest_word(value, STOPPERS)
    name, options = value, None
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
    if name == "none" or name not in STOPPERS:
        raise ValueError(
            f"must be one of {', '.join(STOPPERS)}, alone or with its options as in "
            f"{{asha: {{min_epochs: 1, reduction: 2}}}}, but got {shown(value)}"
            + (f"; did you mean {near}?" if near else "")
        )
    return {name: {} if options is None else options}


def _kind_of_stopper(value: Any) -> str:
    """pydantic's tag of the stopper that ``value`` is; in < > it is left out of the path of an error."""
    if isinstance(value, Settings):
        return f"<{next(iter(type(value).model_fields))}>"
    return "<none>" if isinstance(value, str) else f"<{next(iter(value))}>"


def _word_or_count(value: Any) -> str:
    return "<word>" if isinstance(value, str) else "<count>"


def _name_or_names(value: Any) -> str:
    return "<names>" if isinstance(value, list) else "<name>"


def _one_of(*words: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value not in words and (not isinstance(value, int) or isinstance(value, bool)):
            raise ValueError(f"must be {' or '.join((*words, 'an integer'))}, but got {shown(value)}")
        return value

    return BeforeValidator(check)


class Resources(Settings):
    """What one trial occupies."""

    cpu: Positive = 1.0
    gpu: NonNegative = 0.0


class Keep(Settings):
    """What may stay on the disk."""

    disk_gb: Positive | None = None  # of trials/; the weights of those that nothing can use go first. null: all stay


class Search(Settings):
    sampler: Literal["grid", "random", "qmc", "tpe", "gp", "cmaes", "nsga2", "bayes"] = "tpe"
    start: list[dict[str, Any]] = Field([])  # points that are tried first: searched values by path
    start_from: str | None = None  # the folder of another run, whose best points are tried first
    stopper: Annotated[
        Annotated[Literal["none"], Tag("<none>")]
        | Annotated[ASHAStopper, Tag("<asha>")]
        | Annotated[HyperbandStopper, Tag("<hyperband>")]
        | Annotated[MedianStopper, Tag("<median>")]
        | Annotated[PBTStopper, Tag("<pbt>")],
        Discriminator(_kind_of_stopper),
        BeforeValidator(_stopper),
    ] = ASHAStopper()
    trials: Count = 16
    wall_time: Positive | None = None  # seconds, of search and ensembles together
    total_epochs: Count | None = None  # of all trials together
    target: Annotated[float, Field(allow_inf_nan=False)] | None = None  # no new trial once one has come to it
    patience: Count | None = None  # no new trial after so many without a better one
    metric: Annotated[
        Annotated[str, Tag("<name>")] | Annotated[list[str], Tag("<names>")], Discriminator(_name_or_names)
    ] = "reward"  # several: a Pareto front; or ensemble_gain, see samplers/ensemble_gain.py
    metric_per: Literal["seconds"] | None = None  # expected gain by predicted cost
    concurrency: Annotated[
        Annotated[Literal["auto"], Tag("<word>")] | Annotated[Count, Tag("<count>")],
        Discriminator(_word_or_count),
        _one_of("auto"),
    ] = "auto"  # trials at a time; auto: as many as the resources allow
    packing: Annotated[
        Annotated[Literal["auto", "off"], Tag("<word>")] | Annotated[Count, Tag("<count>")],
        Discriminator(_word_or_count),
        _one_of("auto", "off"),
    ] = "auto"  # trials trained as one program; auto: as many as a calibration finds to be worth it
    resources: Resources = Resources()
    seeds: Count = 1  # repetitions of each configuration
    seed: Seed = 0
    keep: Keep = Keep()
    storage: None = None  # the run folder's ledger.log

    @field_validator("metric")
    @classmethod
    def _is_named_once(cls, metric: str | list[str]) -> str | list[str]:
        names = [metric] if isinstance(metric, str) else metric
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"must name one metric, or several once each, but got {shown(metric)}")
        return names[0] if len(names) == 1 else metric

    def check(self, searched: Collection[str], metrics: Sequence[str], *, of_texts: bool, folds: int = 1) -> None:
        """Raises SettingError where objectives, seeds and folds do not go with the rest; ``searched``: paths in the
        space; ``metrics``: that a trial reports."""
        if self.looks_for_gain:
            self._check_gain(of_texts, folds)
        if folds > 1 and self.seeds > 1:
            raise SettingError(
                "search.seeds",
                f"must be 1 under data.splits folds, whose {folds} policies a trial is made of, but got {self.seeds}; "
                "take one of them, or search train.seed",
            )
        if folds > 1 and isinstance(self.stopper, PBTStopper):
            raise SettingError(
                "search.stopper", "pbt works with shares only, but data.splits has folds; use asha, hyperband or median"
            )
        if not of_texts and self.objectives not in (("reward",), ("reward", "seconds")):
            raise SettingError(
                "search.metric", f"must be reward in an environment, or [reward, seconds], but got {shown(self.metric)}"
            )
        self._check_metrics(metrics)
        if self.objective == "seconds":
            raise SettingError("search.metric", "must have seconds last: trials are ranked and stopped by the first")
        if len(self.objectives) > 1 and self.sampler in ONE_OBJECTIVE:
            raise SettingError(
                "search.sampler",
                f"{self.sampler} takes one objective, but search.metric has {len(self.objectives)}; use tpe or nsga2",
            )
        if len(self.objectives) > 1 and self.metric_per is not None:
            raise SettingError(
                "search.metric_per",
                f"weighs the gain in one objective, but search.metric has {len(self.objectives)}; leave it out",
            )
        if self.metric_per is not None and self.sampler == "grid":
            raise SettingError("search.metric_per", "has no use under the grid sampler, which tries every point")
        if self.seeds > 1 and isinstance(self.stopper, PBTStopper):
            raise SettingError("search.seeds", "must be 1 under pbt, whose members go on from each other")
        if self.seeds > 1 and "train.seed" in searched:
            raise SettingError(
                "search.seeds", "repeats each setting over train.seed, which space has, too; take it out of one of them"
            )

    def _check_metrics(self, metrics: Sequence[str]) -> None:
        several = len(self.objectives) > 1
        known = (*metrics, "seconds") if several else metrics
        for name in self.objectives:
            if name not in known:
                also = "" if several else f" or {ENSEMBLE_GAIN}"
                near = nearest_word(name, known)
                raise SettingError(
                    "search.metric",
                    f"must be one of {', '.join(known)}{also}, but got {name!r}"
                    + (f"; did you mean {near}?" if near else ""),
                )

    def _check_gain(self, of_texts: bool, folds: int) -> None:
        if not of_texts:
            raise SettingError("search.metric", f"{ENSEMBLE_GAIN} needs texts; use reward in an environment")
        if self.sampler not in LEARNS_ANEW:
            raise SettingError(
                "search.sampler",
                f"{self.sampler} does not learn from all trials anew, as search.metric {ENSEMBLE_GAIN} needs; use "
                f"{', '.join(LEARNS_ANEW)}",
            )
        for there, key, advice in (
            (self.metric_per is not None, "search.metric_per", "leave it out"),
            (self.seeds > 1, "search.seeds", "take 1"),
            (isinstance(self.stopper, PBTStopper), "search.stopper", "use none, asha, hyperband or median"),
            (folds > 1, "data.splits", "use shares, not folds"),
        ):
            if there:
                raise SettingError(key, f"does not go with search.metric {ENSEMBLE_GAIN}; {advice}")

    @property
    def looks_for_gain(self) -> bool:
        """Whether the sampler looks for what improves the ensemble; trials are compared by reward all the same."""
        return self.metric == ENSEMBLE_GAIN

    def notes(self) -> tuple[str, ...]:
        """What a user should know of settings that go together, but not as one might think."""
        if self.looks_for_gain:
            return (
                "the sampler looks for what improves the ensemble of the trials so far on valid; trials are stopped "
                "and ranked by reward",
            )
        if len(self.objectives) == 1 or self.stopper == "none":
            return ()
        return (
            f"search.stopper judges by {self.objective} alone, and what it stops is not on the Pareto front; "
            "with none the whole front is found",
        )

    @property
    def objectives(self) -> tuple[str, ...]:
        """What trials are compared by; more than one make a Pareto front."""
        if self.looks_for_gain:
            return ("reward",)
        return (self.metric,) if isinstance(self.metric, str) else tuple(self.metric)

    def epochs_of_trial(self, epochs: int) -> int:
        """Of a trial where training takes ``epochs``: under pbt a trial is a generation of it."""
        return self.stopper.pbt.interval if isinstance(self.stopper, PBTStopper) else epochs

    @property
    def objective(self) -> str:
        """The first of them: what trials are stopped and ranked by."""
        return self.objectives[0]

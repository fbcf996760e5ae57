"""Settings without effect: which ones a trial's other settings make dead, and why.

A rule is one line of RULES: its settings, when they are dead, and the reason. A rule looks at other settings through
``of``, which gives the value at a path, so that the search can ask the same rules before all values are chosen. The
first rule that holds gives the reason. A rule may look at the value of its own setting: a minibatch above the batch
size trains as one of that size, whatever it is.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from sweepstack.models.settings.tasks import is_environment, is_foreign, is_writing, say_foreign
from sweepstack.models.settings.trial import TrialSettings

Of = Callable[[str], Any]
"""The value of the setting at a path."""


class Rule(NamedTuple):
    settings: str
    """Paths, with spaces between; one that ends in a dot is a whole section."""
    dead: Callable[[Of], bool]
    reason: str


def _one_decision(of: Of) -> bool:
    """Whether an episode is one decision: a classifier that cannot read on."""
    if is_environment(of("task")) or is_writing(of("task")):
        return False
    return bool(of("reading") == "off" or of("reading").max_segments == 1)


def _plays_without_costs(of: Of) -> bool:
    """Whether a classifier learns nothing of what a READ costs. A translation is scored by its trial's own cost."""
    return not is_writing(of("task")) and (of("train.algorithm") == "supervised" or of("train.reward") == "constant")


def _takes_no_value(of: Of) -> bool:
    """Whether REINFORCE takes nothing, or the batch's mean, off the return."""
    return bool(of("train.algorithm") == "reinforce" and of("train.reinforce.baseline") != "value")


def _learns_value(of: Of) -> bool:
    """Whether advantages are taken against a value, which is then learned."""
    algorithm = of("train.algorithm")
    if algorithm not in ("reinforce", "a2c", "ppo", "trpo") or _takes_no_value(of):
        return False
    return bool(
        algorithm == "trpo"
        or of(f"train.{algorithm}.value_coef") > 0
        or (algorithm == "ppo" and of("train.ppo.value_warmup") > 0)
    )


def _learns_from_labels(of: Of) -> bool:
    """Whether the second stage has a supervised loss."""
    algorithm = of("train.algorithm")
    return bool(algorithm == "supervised" or (algorithm == "ppo" and of("train.ppo.cross_entropy") > 0))


def _keeps_states(of: Of) -> bool:
    """Whether the Transformer is frozen, and its states are computed once for all epochs."""
    frozen = of("train.algorithm") != "supervised" and of("train.freeze") == "encoder"
    return bool(frozen and (not is_writing(of("task")) or of("reading") != "off"))


def _largest_batch(of: Of) -> int:
    size = of("train.batch_size")
    return int(of("train.batch_range")[1] if isinstance(size, str) else size)


def _whole_rollout(of: Of) -> bool:
    """Whether PPO takes one step a rollout, on all of it: then nothing has moved since it was played."""
    ppo = "train.ppo."
    return bool(of(f"{ppo}epochs") == 1 and of(f"{ppo}minibatch") >= _largest_batch(of) and not of("train.dropout"))


def _decays_nothing(of: Of, stage: str) -> bool:
    decay = of(f"{stage}.weight_decay")
    return bool(decay == 0 or (decay is None and stage == "train" and of("train.algorithm") != "supervised"))


def _descent(stage: str) -> tuple[Rule, ...]:
    """Of a stage of training, whose settings begin with ``stage``."""
    schedule, optimizer = f"{stage}.lr_schedule", f"{stage}.optimizer"

    def own(*names: str) -> str:
        return " ".join(f"{stage}.{name}" for name in names)

    return (
        Rule(own("step_every", "step_factor"), lambda of: of(schedule) != "step", "only lr_schedule step uses them"),
        Rule(
            own("step_every", "step_factor"),
            lambda of: of(f"{stage}.step_every") >= of(f"{stage}.epochs"),
            "lr never drops where step_every is not below epochs",
        ),
        Rule(
            own("cycles"),
            lambda of: of(schedule) not in ("cyclic", "cosine_restarts"),
            "only lr_schedules cyclic and cosine_restarts use it",
        ),
        Rule(
            own("cycle_growth"),
            lambda of: of(schedule) != "cosine_restarts",
            "only lr_schedule cosine_restarts uses it",
        ),
        Rule(own("cycle_growth"), lambda of: of(f"{stage}.cycles") == 1, "there is one cycle"),
        Rule(own("power"), lambda of: of(schedule) != "polynomial", "only lr_schedule polynomial uses it"),
        Rule(own("lr_min_ratio"), lambda of: of(schedule) == "constant", "lr is constant"),
        Rule(own("lr_reference"), lambda of: of(f"{stage}.lr_scaling") == "none", "lr_scaling is none"),
        Rule(own("beta1", "beta2"), lambda of: of(optimizer) not in ADAMS, "only Adam and its relatives use them"),
        Rule(
            own("eps"),
            lambda of: of(optimizer) not in (*ADAMS, "rmsprop"),
            "only rmsprop, Adam and its relatives use it",
        ),
        Rule(own("momentum"), lambda of: of(optimizer) not in ("sgd", "rmsprop"), "only sgd and rmsprop use it"),
        Rule(own("nesterov"), lambda of: of(optimizer) != "sgd", "only sgd uses it"),
        Rule(own("nesterov"), lambda of: of(f"{stage}.momentum") == 0, "momentum is 0"),
        Rule(own("decay_all"), lambda of: _decays_nothing(of, stage), "no weight decays"),
        Rule(own("average_decay"), lambda of: of(f"{stage}.average") != "ema", "only average ema uses it"),
        Rule(own("average_last"), lambda of: of(f"{stage}.average") != "last", "only average last uses it"),
        Rule(own("decay"), lambda of: of(schedule) != "wsd", "only lr_schedule wsd uses it"),
        Rule(own("max_grad_norm"), lambda of: of(optimizer) == "lbfgs", "lbfgs clips no gradients"),
    )


ADAMS = ("adam", "adamw", "schedule_free")
ONE_DECISION = "train.gamma train.gae_lambda train.value_lambda train.lambda_alpha"
ALGORITHMS = ("reinforce", "rloo", "a2c", "ppo", "trpo")  # that have a section of their own
SUPERVISED = f"{ONE_DECISION} train.value_loss train.value_lr train.reward train.freeze train.dropout"


def _unused(settings: str, algorithm: str) -> Rule:
    named = "supervised training" if algorithm == "supervised" else algorithm
    return Rule(settings, lambda of: of("train.algorithm") == algorithm, f"{named} does not use them")


def _schedules_no_entropy(algorithm: str) -> Rule:
    own = f"train.{algorithm}.entropy"
    return Rule(f"{own}_schedule", lambda of: of(own) == 0, "entropy is 0")


def _own_sections() -> Iterator[Rule]:
    """The section of an algorithm is dead under every other one."""
    for algorithm in ("supervised", "exact", *ALGORITHMS):
        yield _unused(" ".join(f"train.{other}." for other in ALGORITHMS if other != algorithm), algorithm)


def _not_below_batch(minibatch: str) -> Rule:
    return Rule(minibatch, lambda of: of(minibatch) >= _largest_batch(of), "it is not below batch_size")


RULES: tuple[Rule, ...] = (
    _unused(SUPERVISED, "supervised"),
    _unused("train.gae_lambda train.value_lambda train.lambda_alpha train.value_loss train.value_lr", "exact"),
    _unused("train.gae_lambda train.value_lambda train.lambda_alpha train.value_loss train.value_lr", "rloo"),
    _unused("train.gae_lambda train.lambda_alpha", "reinforce"),
    *_own_sections(),
    Rule(ONE_DECISION, _one_decision, "an episode is one decision, so they cannot matter"),
    Rule("reading.cost", _one_decision, "only one segment is read"),
    Rule("reading.cost", _plays_without_costs, "it is not trained by costs, and all trials are scored by one"),
    Rule("train.gae_lambda", lambda of: of("train.lambda_alpha") is not None, "lambda_alpha sets λ"),
    Rule("train.reinforce.value_coef", _takes_no_value, "no value is learned"),
    Rule("train.value_lr train.value_loss train.value_lambda", lambda of: not _learns_value(of), "no value is learned"),
    Rule("train.ppo.value_clip", lambda of: not _learns_value(of), "no value is learned"),
    Rule("train.label_smoothing", lambda of: not _learns_from_labels(of), "only a supervised loss uses it"),
    Rule("train.class_weights", lambda of: not _learns_from_labels(of), "only a supervised loss uses it"),
    Rule("train.token_budget", _keeps_states, "a frozen Transformer is not trained"),
    Rule("train.ppo.kl_target", lambda of: of("train.ppo.kl") == 0, "kl is 0"),
    Rule("train.batch_range", lambda of: isinstance(of("train.batch_size"), int), "batch_size is a number"),
    *map(_not_below_batch, ("train.ppo.minibatch", "train.trpo.minibatch")),
    Rule(
        "train.ppo.clip train.ppo.clip_schedule train.ppo.value_clip train.ppo.target_kl",
        _whole_rollout,
        "one pass over a whole rollout begins where it was played",
    ),
    *map(_schedules_no_entropy, ("reinforce", "rloo", "a2c", "ppo")),
    *_descent("train"),
    *_descent("train.warm_start"),
)


def why_dead(path: str, of: Of) -> str | None:
    """Why the setting ``path`` has no effect beside the others, or None where it may have one."""
    if is_foreign(path, of("task")):
        return say_foreign(path, of("task")).partition(";")[0]
    return next((rule.reason for rule in _rules_of(path) if rule.dead(of)), None)


def dead_settings(settings: TrialSettings) -> dict[str, str]:
    """The settings, by path, that have no effect in a trial of ``settings``, and why."""
    of = value_at(settings)
    return {path: reason for path in leaves() if (reason := why_dead(path, of)) is not None}


def value_at(settings: TrialSettings) -> Of:
    """The values of ``settings`` by path."""
    return lambda path: functools.reduce(getattr, path.split("."), settings)


@functools.cache
def leaves() -> tuple[str, ...]:
    """Every setting of a trial that is no section, and ``reading.cost``, by path."""

    def below(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from below(field.annotation, f"{prefix}{name}.")
            else:
                yield prefix + name

    sections = {name: TrialSettings.model_fields[name].annotation for name in ("model", "train")}
    found = [p for name, model in sections.items() if isinstance(model, type) for p in below(model, f"{name}.")]
    return (*found, "reading.cost")


@functools.cache
def _rules_of(path: str) -> tuple[Rule, ...]:
    def speaks(rule: Rule) -> bool:
        return any(path.startswith(each) if each.endswith(".") else path == each for each in rule.settings.split())

    return tuple(rule for rule in RULES if speaks(rule))

"""The ``ensembles:`` section of a study file: where members may come from, and what is built of them.

Answers and texts are combined by different builders, from different company: what does not fit a study's task is
refused by its key before anything starts.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from sweepstack.models.settings.base import Count, Positive, Seed, SettingError, Settings, shown
from sweepstack.models.settings.trial import Model
from sweepstack.search.study.as_written import nearest_word

OPTIONS: dict[str, dict[str, type]] = {  # what each builder of ensembles/ takes, numbers above 0
    "average": {"top": int},
    "vote": {"top": int},
    "selection": {"size": int, "start": int, "members": int, "bags": int, "share": float},
    "stacking": {"top": int, "c": float, "learner": str},
    "neural": {"top": int, "hidden": int, "dropout": float},
    "cascade": {"members": int, "tolerance": float},
    "bagging": {"top": int, "members": int},
    "boosting": {"top": int, "members": int, "lr": float},
    "snapshots": {"top": int, "cycles": int},
    "soup": {"kind": str},
}
WRITING_OPTIONS: dict[str, dict[str, type]] = {  # the same of those that combine texts
    "average": {"top": int, "mean": str},
    "minimum_bayes_risk": {"top": int, "utility": str},
    "reranker": {"top": int},
    "snapshots": {"top": int, "cycles": int},
    "soup": {"kind": str},
}
WRITING_BUILDERS = ("average", "minimum_bayes_risk", "reranker", "soup")
"""What a writing task builds where its study says nothing."""

Library = Literal["trials", "linear", "supervised", "naive_bayes", "char_linear", "memory"]
OF_WRITING = ("trials", "memory", "supervised")
OF_ANSWERS = ("trials", "linear", "supervised", "naive_bayes", "char_linear")
Builder = str | dict[str, dict[str, float | str]]


def _builder(value: Any) -> Builder:
    """``selection`` or ``{stacking: {top: 8}}``, with known options."""
    name: Any = value
    options: Any = None
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
    if not isinstance(name, str) or name not in {**OPTIONS, **WRITING_OPTIONS}:
        near = nearest_word(name, list(dict.fromkeys([*OPTIONS, *WRITING_OPTIONS])))
        names = ", ".join(dict.fromkeys([*OPTIONS, *WRITING_OPTIONS]))
        raise ValueError(
            f"must be one of {names}, alone or as {{name: {{option: value}}}}, but got {shown(value)}"
            + (f"; did you mean {near}?" if near else "")
        )
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"{name} must be a mapping of options to values, but got {shown(options)}")
    known = {**WRITING_OPTIONS.get(name, {}), **OPTIONS.get(name, {})}  # whether the task has them is seen later
    for option, number in (options or {}).items():
        wanted = known.get(option) if isinstance(option, str) else None
        if wanted is None:
            raise ValueError(f"{name} has the options {', '.join(known)}, but got {shown(option)}")
        if wanted is str:
            if not isinstance(number, str):
                raise ValueError(f"{name}.{option} must be text, but got {shown(number)}")
            continue
        of_kind = isinstance(number, int | float if wanted is float else int) and not isinstance(number, bool)
        if not of_kind or not 0 < number < float("inf"):
            kind = "an integer" if wanted is int else "a number"
            raise ValueError(f"{name}.{option} must be {kind} above 0, but got {shown(number)}")
    return {name: dict(options)} if options else name


class Budget(Settings):
    """What may be exported; what is over it only stands in the table. null bounds nothing."""

    members: Count | None = None
    size_mb: Positive | None = None  # on disk, in 10⁶ bytes
    latency_ms: Positive | None = None  # of a text that comes alone, mean over texts, on the machine of the run


class Distill(Settings):
    """A student of what is exported: one policy of this shape, beside it in ``student/``."""

    model: Model = Model(d_model=32, layers=1)
    text: str | None = None  # a file of texts without labels, by the data's input column, or one a line (.txt)
    epochs: Count = 16  # as the supervised start, whose learning rate it has
    temperature: Positive = 1.0  # of what it learns: above 1 where the ensemble is too sure of what it was trained on
    seed: Seed = 0


class Ensembles(Settings):
    library: list[Library] = Field(["trials", "linear", "supervised"], min_length=1)  # where members may come from
    builders: list[Annotated[Builder, PlainValidator(_builder), PlainSerializer(lambda entry: entry)]] = Field(
        ["average", "selection", {"stacking": {"top": 8}}, {"bagging": {"top": 1, "members": 5}}]
    )
    budget: Budget = Budget()
    distill: Distill | None = None
    refit: bool = False  # whether the members of what is exported are trained again on all rows but those of test

    @field_validator("library", "builders")
    @classmethod
    def _named_once(cls, entries: list[Any]) -> list[Any]:
        twice = [entry for place, entry in enumerate(entries) if entry in entries[:place]]
        if twice:  # with other options it is another builder
            entry = twice[0] if isinstance(twice[0], str) else shown(twice[0])
            raise ValueError(f"must name each entry once, but got {entry} twice; take one out")
        return entries


def writing_defaults() -> dict[str, Any]:
    """What ``ensembles:`` is where the study of a writing task leaves it out."""
    return {"library": list(OF_WRITING), "builders": list(WRITING_BUILDERS)}


def refuse_for_writing(ensembles: Ensembles) -> None:
    """Raises SettingError with the key of the first value that says nothing where texts are written."""
    if ensembles.refit:
        raise SettingError("ensembles.refit", "trains classifiers again, and a writing task has none; take it out")
    if ensembles.distill is not None:
        raise SettingError("ensembles.distill", "makes a student of labels, and a writing task has none; take it out")
    _refuse(ensembles, WRITING_OPTIONS, OF_WRITING, "a task that writes")


def refuse_for_answers(ensembles: Ensembles) -> None:
    """The same where texts are answered with labels."""
    _refuse(ensembles, OPTIONS, OF_ANSWERS, "classification")


def _refuse(
    ensembles: Ensembles, options: Mapping[str, Mapping[str, type]], library: tuple[str, ...], task: str
) -> None:
    for place, entry in enumerate(ensembles.builders):
        ((name, given),) = ({entry: {}} if isinstance(entry, str) else entry).items()
        where = f"ensembles.builders[{place}]"
        if name not in options:
            raise SettingError(where, f"{name} is not for {task}; use one of {', '.join(options)}")
        for option in _foreign(given, options[name]):
            raise SettingError(where, f"{name} has no option {option} for {task}; {_has(options[name])}")
    for place, source in enumerate(ensembles.library):
        if source not in library:
            where = f"ensembles.library[{place}]"
            raise SettingError(where, f"{source} is not for {task}; use one of {', '.join(library)}")


def _foreign(given: Mapping[str, Any], options: Mapping[str, type]) -> Iterator[str]:
    return (option for option in given if option not in options)


def _has(options: Mapping[str, type]) -> str:
    return f"it has {', '.join(options)}" if options else "leave it out"

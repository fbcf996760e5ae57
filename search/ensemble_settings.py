"""The ``ensembles:`` section of a study file: where members may come from, and what is built of them."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from sweepstack.models.settings import Count, Model, Positive, Seed, Settings
from sweepstack.search.refusals import shown

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
Library = Literal["trials", "linear", "supervised", "naive_bayes", "char_linear"]
Builder = str | dict[str, dict[str, float | str]]


def _builder(value: Any) -> Builder:
    """``selection`` or ``{stacking: {top: 8}}``, with known options."""
    name: Any = value
    options: Any = None
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
    if not isinstance(name, str) or name not in OPTIONS:
        raise ValueError(
            f"must be one of {', '.join(OPTIONS)}, alone or as {{name: {{option: value}}}}, but got {shown(value)}"
        )
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"{name} must be a mapping of options to values, but got {shown(options)}")
    for option, number in (options or {}).items():
        wanted = OPTIONS[name].get(option) if isinstance(option, str) else None
        if wanted is None:
            raise ValueError(f"{name} has the options {', '.join(OPTIONS[name])}, but got {shown(option)}")
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

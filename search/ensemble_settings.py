"""The ``ensembles:`` section of a study file: where members may come from, and what is built of them."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from sweepstack.models.settings import Settings
from sweepstack.search.refusals import shown

OPTIONS: dict[str, dict[str, type]] = {  # what each builder of ensembles/ takes, all above 0
    "average": {"top": int},
    "selection": {"size": int, "start": int},
    "stacking": {"top": int, "c": float},
    "bagging": {"top": int, "members": int},
}
Library = Literal["trials", "linear", "supervised"]
Builder = str | dict[str, dict[str, float]]


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
        of_kind = isinstance(number, int | float if wanted is float else int) and not isinstance(number, bool)
        if not of_kind or not 0 < number < float("inf"):
            kind = "an integer" if wanted is int else "a number"
            raise ValueError(f"{name}.{option} must be {kind} above 0, but got {shown(number)}")
    return {name: dict(options)} if options else name


class Budget(Settings):
    """What an ensemble may cost: nothing can be asked for in this version."""


class Ensembles(Settings):
    library: list[Library] = Field(["trials", "linear", "supervised"], min_length=1)  # where members may come from
    builders: list[Annotated[Builder, PlainValidator(_builder), PlainSerializer(lambda entry: entry)]] = Field(
        ["average", "selection", {"stacking": {"top": 8}}, {"bagging": {"top": 1, "members": 5}}]
    )
    budget: Budget = Budget()

    @field_validator("library", "builders")
    @classmethod
    def _named_once(cls, entries: list[Any]) -> list[Any]:
        names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
        twice = [name for place, name in enumerate(names) if name in names[:place]]
        if twice:
            raise ValueError(f"must name each entry once, but got {twice[0]} twice; take one out")
        return entries

"""What every section of a study file is built of: frozen and strict models, and the kinds of number they hold.

An unknown key or a value of another type is an error, and nothing is converted silently (but an integer where a float
is meant).
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
NonNegativeCount = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class SettingError(ValueError):
    """What is wrong with a setting that fits its type; ``path`` is its key's."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


def word_or_number(value: Any) -> str:
    """Which member of a union a value means to be, so that an error speaks of that one alone."""
    return "<word>" if isinstance(value, str) else "<number>"


def mapping_or_number(value: Any) -> str:
    return "<mapping>" if isinstance(value, dict | BaseModel) else "<number>"


def shown(value: Any) -> str:
    """A value as a message says it: as in YAML, and not all of a long one."""
    text = (
        {None: "null", True: "true", False: "false"}.get(value, "") if isinstance(value, bool | None) else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."

"""Where a study's texts come from, how they are cleaned and split: the ``data`` part of a study file."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from sweepstack.models.settings.base import Count, NonNegative, Seed, SettingError, Settings, Share, shown
from sweepstack.models.settings.tasks import is_writing
from sweepstack.models.settings.trial import Reading

MOST_FOLDS = 20


class Splits(Settings):
    """Shares of ``train``; the rest, at least 0.1, is *warm*. ``test`` is carved first, where no test file is given."""

    policy: Share = 0.3
    valid: Share = 0.1
    blend: Share = 0.1
    test: Share | None = None  # 0.15 where the data brings no test part of its own

    @model_validator(mode="after")
    def _leaves_warm(self) -> Self:
        total = self.policy + self.valid + self.blend
        if total > 0.9 + 1e-9:
            raise ValueError(
                f"policy + valid + blend must leave at least 0.1 for warm, but they sum to {total:g}; lower one of them"
            )
        return self


class Folds(Settings):
    """Cross-validation: each of K parts of ``train`` is held out once, from policies that are trained on the others.

    What these say of it is what trials are scored by and ensembles are fitted on, in place of valid and blend.
    """

    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)]
    policy: Share = 0.375  # of the rows that a fold trains on, as the shares have it by default; the rest is warm
    test: Share | None = None  # as in Splits

    @model_validator(mode="before")
    @classmethod
    def _takes_the_place_of_shares(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and (foreign := [name for name in ("valid", "blend") if name in tree]):
            raise ValueError(
                f"folds take the place of valid and blend, but got {' and '.join(foreign)}, too; "
                "leave them out, as in {folds: 5}"
            )
        return tree

    @model_validator(mode="after")
    def _leaves_warm(self) -> Self:
        if self.policy > 0.9 + 1e-9:
            raise ValueError(f"policy must leave at least 0.1 of a fold's rows for warm, but got {self.policy:g}")
        return self


def _of_splits(value: Any) -> Any:
    if not isinstance(value, dict | Splits | Folds):
        raise ValueError(
            "must be shares or folds, as in {policy: 0.3, valid: 0.1, blend: 0.1} or {folds: 5}, but got "
            f"{shown(value)}"
        )
    return value


def _named(value: str) -> str:
    if not value.strip():
        raise ValueError(f"must be a name or a path, but got {value!r}; give one")
    if not value.isprintable():
        raise ValueError(
            f"holds a character that is not shown, {shown(value)}, as a backslash in double quotes makes one; write / "
            "for it, or take single quotes"
        )
    return value


Name = Annotated[str, AfterValidator(_named)]


def _shares_or_folds(value: Any) -> str:
    folds = isinstance(value, Folds) or (isinstance(value, dict) and "folds" in value)
    return "<folds>" if folds else "<shares>"


class Text(Settings):
    """What is done to a text before it is read, the same in training and in the exported bundle."""

    stop_words: Literal["english"] | None = None  # left out, by scikit-learn's list
    stem: str | None = None  # a language of the package snowballstemmer: words are cut to their stems
    vocabulary: Count | None = None  # at most; 20,000 words or characters, 4,000 tokens where it is left out
    max_words: Count | None = None  # read of a text under reading: off; null: as the texts' lengths suggest, up to 256
    min_frequency: Count = 2  # a unit seen once teaches nothing but itself, and unknown ones must be met in training

    @field_validator("stem")
    @classmethod
    def _is_a_language(cls, stem: str | None) -> str | None:
        if stem is not None:
            from snowballstemmer import algorithms

            if stem not in algorithms():
                raise ValueError(f"must be one of {', '.join(algorithms())}, but got {stem!r}")
        return stem

    def check(self, reading: "Reading | Literal['off']") -> None:
        """Raises ValueError where something is asked for that only words have, or texts that are read at once."""
        if reading != "off" and self.max_words is not None:
            raise ValueError(
                f"data.text.max_words {self.max_words} bounds what reading: off reads; leave it out, and set "
                "reading.segment and reading.max_segments"
            )
        if reading != "off" and reading.unit != "words":
            for name in ("stop_words", "stem"):
                if (value := getattr(self, name)) is not None:
                    raise ValueError(
                        f"data.text.{name} {value} works with reading.unit words only, but got {reading.unit}; "
                        f"leave data.text.{name} out, or read words"
                    )


class Read(Settings):
    """How data files are read. What is not given is found out, and said where it is not UTF-8 or not the usual one."""

    encoding: str | None = None  # of files of text: utf-8, utf-16, cp1252, gb18030, …
    delimiter: str | None = None  # of .csv and .tsv: one character, or the word tab
    on_bad_rows: Literal["refuse", "drop"] = "refuse"  # without text, label or group, or that cannot be read

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, encoding: str | None) -> str | None:
        try:
            if encoding is not None:
                "a\r\n".encode(encoding).decode(encoding)
        except (LookupError, ValueError):
            raise ValueError(
                f"must be an encoding of text, such as utf-8 or cp1252, but got {shown(encoding)}"
            ) from None
        return encoding

    @field_validator("delimiter")
    @classmethod
    def _is_a_character(cls, delimiter: str | None) -> str | None:
        delimiter = "\t" if delimiter in ("tab", "\\t") else delimiter
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ValueError(f"must be one character, as in ';', or the word tab, but got {shown(delimiter)}")
        return delimiter


class Data(Settings):
    train: Name  # a path (.jsonl .csv .tsv .parquet or a folder saved by Hugging Face datasets) or builtin:NAME
    test: Name | None = None  # without it, splits.test is carved from train first
    input: Name = "text"  # column names
    target: Name = "label"
    group: Name | None = None  # rows of one group never straddle two parts
    read: Read = Read()
    rare_classes: Literal["keep", "drop", "merge"] = (
        "keep"  # fewer rows than parts: in warm alone, left out, or "other"
    )
    text: Text = Text()
    costs: dict[str, dict[str, NonNegative]] | None = None  # {right: {answered: cost}}: 1 for a wrong answer not named
    splits: Annotated[
        Annotated[Splits, Tag("<shares>")] | Annotated[Folds, Tag("<folds>")],
        Discriminator(_shares_or_folds),
        BeforeValidator(_of_splits),
    ] = Splits()
    seed: Seed = 0

    def check(self, task: str) -> None:
        """Raises SettingError where ``task`` cannot have its data so."""
        if is_writing(task) and isinstance(self.splits, Folds):
            raise SettingError(
                "data.splits.folds",
                f"is not available under task {task}, but got {self.splits.folds}; take shares of the rows, as in "
                "splits: {policy: 0.1, valid: 0.05, blend: 0.05}",
            )

    @property
    def folds(self) -> int:
        """How many policies a trial trains, each with another part of the rows held out; 1 without folds."""
        return self.splits.folds if isinstance(self.splits, Folds) else 1

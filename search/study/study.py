"""The study file, version 1: its models and its loading.

``Study.load`` gives an object whose every value has been checked, or a StudyError of one line. Values that the file
leaves out have the defaults below; paths are absolute, so that ``Study.dump`` can be run from anywhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from sweepstack.models.errors import StudyError
from sweepstack.models.files import user_path
from sweepstack.models.settings.base import SettingError, Settings, shown
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.tasks import (
    METRICS,
    PREFIX,
    STARTS,
    Family,
    answers_at_once,
    family,
    given_foreign,
    is_environment,
    is_foreign,
    is_writing,
    say_foreign,
    with_study_defaults,
    without_foreign,
    writes_while_reading,
)
from sweepstack.models.settings.trial import Model, Reading, Task, Train, TrialSettings
from sweepstack.models.settings.writing import LAGGING, WRITING_METRICS, Writing
from sweepstack.search.study.axes import Axis, Choice
from sweepstack.search.study.ensembles_section import Builder, Ensembles, writing_defaults
from sweepstack.search.study.messages import fail, refusal, refuse_later
from sweepstack.search.study.paths import STORE, make_absolute, make_relative
from sweepstack.search.study.population_checks import check as check_population
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space, check_points
from sweepstack.search.study.task_checks import check_task
from sweepstack.search.study.tracking_uri import sqlite_uri
from sweepstack.search.study.yaml import dump_yaml, load_yaml, parse_override

DEFAULT_SPACE: dict[str, Any] = {
    "train.lr": {"log": [3e-4, 3e-2]},
    "train.lr_schedule": ["constant", "linear", "exponential", "inverse_time", "step", "cosine"],
    "train.batch_size": [64, 128, 256, 512],
    "train.gamma": {"near_one": [0.9, 0.9999]},
    "train.gae_lambda": {"near_one": [0.5, 0.999]},
    "train.warm_start.seed": [0, 1, 2, 3],  # members from different starts make the better ensemble
}
ENVIRONMENT_SPACE: dict[str, Any] = {
    "train.lr": {"log": [1e-4, 3e-3]},
    "train.lr_schedule": ["constant", "linear"],
    "train.batch_size": [256, 512, 1024, 2048],
    "train.gamma": {"near_one": [0.9, 0.9999]},
    "train.gae_lambda": {"near_one": [0.5, 0.999]},
}
WRITING_SPACE: dict[str, Any] = {
    "train.lr": {"log": [3e-6, 3e-4]},
    "train.lr_schedule": ["constant", "linear", "exponential", "inverse_time", "step", "cosine"],
    "train.batch_size": [32, 64, 128],
    "train.gamma": {"near_one": [0.9, 0.9999]},
    "train.gae_lambda": {"near_one": [0.5, 0.999]},
    "train.warm_start.seed": [0, 1],  # a start takes minutes, and two of them err differently enough
}
READING_SPACE = {**WRITING_SPACE, "train.lr": {"log": [3e-3, 1e-1]}}  # of a small head, where a writer reads
SPACES: dict[Family, dict[str, Any]] = {
    "classification": DEFAULT_SPACE,
    "writing": WRITING_SPACE,
    "environment": ENVIRONMENT_SPACE,
}


def default_space(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Of a study whose raw ``tree`` names none."""
    if answers_at_once(tree):
        return dict(STARTS["space"])
    return READING_SPACE if writes_while_reading(tree) else SPACES[family(tree.get("task"))]


def _word_or_mapping(value: Any) -> str:
    return "<word>" if isinstance(value, str) else "<mapping>"


def _reading(value: Any) -> Any:
    if value != "off" and not isinstance(value, dict | Reading):
        raise ValueError(
            f"must be off or {{unit: words, segment: 5, max_segments: 16, cost: 0.01}}, but got {shown(value)}"
            + ("; write off" if value is False or str(value).lower() in ("off", "no", "none") else "")
        )
    return value


class Tracking(Settings):
    uri: str | None = None  # mlflow.db in the folder that holds the run folders


class Study(Settings):
    version: Literal[1] = 1
    name: str  # the file's stem where it is left out
    task: Task
    data: Data | None = None  # an environment has none
    reading: Annotated[
        Annotated[Reading, Tag("<mapping>")] | Annotated[Literal["off"], Tag("<word>")],
        Discriminator(_word_or_mapping),
        BeforeValidator(_reading),
    ] = Reading()
    writing: Writing | None = None  # of translation and generation alone
    model: Model = Model()
    train: Train = Train()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    space: dict[str, Any] = DEFAULT_SPACE
    search: Search = Search()
    ensembles: Ensembles = Ensembles()
    tracking: Tracking = Tracking()
    _relative: frozenset[str] = PrivateAttr(default=frozenset())  # the keys of paths that were given relative

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.-]{0,99}", name):
            raise ValueError(
                "must be letters, digits, '.', '_' and '-' (at most 100, and no '.' or '-' first), but got "
                f"{shown(name)}"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _of_its_task(cls, tree: Any) -> Any:
        """What is foreign to the task is refused, and what is left out has the task's own defaults."""
        if not isinstance(tree, dict):
            return tree
        task = tree.get("task")
        for path in given_foreign(tree):
            raise SettingError(path, say_foreign(path, task))
        reads = writes_while_reading(tree)
        if not answers_at_once(tree):
            tree = {"space": default_space(tree), **tree}
        given = tree.get("ensembles", {})
        if is_writing(task) and isinstance(given, dict):
            tree["ensembles"] = {**writing_defaults(), **({"builders": []} if reads else {}), **given}
        return with_study_defaults(tree)

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.data is not None:
            self.data.text.check(self.reading)
            self.data.check(self.task)
        elif self.environment is None:
            raise SettingError("data", "data is missing; a study needs task and data, and data needs train")
        try:
            settings = self.trial_settings()
        except ValidationError as error:  # settings that do not fit together
            raise error.errors()[0]["ctx"]["error"] from None
        for path in Space.parse(self.space, settings).paths():
            if is_foreign(path, self.task):
                raise SettingError(f"space.{path}", say_foreign(path, self.task))
        check_task(self)
        self.search.check(
            Space.parse(self.space, settings).paths(), self.metrics, of_texts=self.environment is None, folds=self.folds
        )
        check_points(self.search.start, self.space, settings)
        space, _ = Space.of(self.space, settings)
        if self.folds > 1:
            self._check_folds(space)
        check_population(self.search, self.train.epochs, space)
        if self.search.sampler == "grid":
            space.grid()
            for key in ("start", "start_from"):
                if getattr(self.search, key):
                    raise SettingError(f"search.{key}", "has no use under the grid sampler, which tries every point")
        return self

    def _check_folds(self, space: Space) -> None:
        """Nothing may be chosen by the rows that a fold holds out: they are what ensembles are fitted on. And a student
        needs one way to cut a text."""
        if self.ensembles.distill is not None and self.reading != "off" and self.reading.unit == "tokens":
            raise SettingError(
                "ensembles.distill", "needs shares where reading.unit is tokens, which each fold has its own of"
            )
        searched = list(_values(space.axes, "train.batch_size"))
        for path, sizes in (("space.train.batch_size", searched), ("train.batch_size", [self.train.batch_size])):
            if "adaptive" in sizes:
                raise SettingError(
                    path,
                    "adaptive looks at valid after each epoch, and under data.splits folds no training may do so; "
                    "take noise_scale, or a number",
                )

    @model_serializer(mode="wrap")
    def _without_foreign(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_foreign(handler(self), self.task)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """The study in the file ``path`` with ``overrides`` ("KEY=VALUE"); raises StudyError."""
        path = user_path(path)
        tree = load_yaml(_text(path), str(path))
        if tree is None:
            raise StudyError(f"{path}: the study is empty; it needs task and data, and data needs train")
        if not isinstance(tree, dict):
            raise StudyError(
                f"{path}: a study is a mapping of keys to values (task: classification …), but got {shown(tree)}; "
                "name a study file"
            )
        relative = make_absolute(tree, path.absolute().parent)
        if "name" not in tree:
            tree["name"] = re.sub(r"[^\w.-]+", "-", path.stem).lstrip(".-")
            if not tree["name"]:
                raise StudyError(
                    f"{path}: name is missing, and {path.stem!r} has no letter or digit to make one of; "
                    "add a line, name: my-study"
                )
        keys = [_override(tree, text, relative) for text in overrides]

        def where(key: str) -> str:
            plain = re.sub(r"\[\d+\]", "", key) + "."
            own = [k for k in keys if plain.startswith(f"{k}.") or f"{k}.".startswith(plain)]
            return f"--set {own[-1]}" if own else str(path)

        later = refuse_later(tree)
        if later is not None:
            raise fail(where(later[0]), *later)
        try:
            study = cls.model_validate(tree)
        except ValidationError as error:
            key, line = refusal(error, cls)
            raise fail(where(key), key, line) from None
        study._relative = frozenset(relative)
        return study

    @classmethod
    def stored(cls, path: Path) -> "Study":
        """The study that a run folder holds; raises StudyError, also where the end of the file is missing. What is left
        of it would be another study, with defaults for what is gone."""
        study = cls.load(path)
        if study.tracking.uri is None:  # which stands last, and is always there
            raise StudyError(
                f"{path} is cut off: it lacks tracking, which a run writes last; put back a copy of it, or remove it "
                "and run the study again with the file that it was begun with"
            )
        return study

    def dump(self, root: Path | None = None) -> str:
        """The resolved study as YAML; loading it gives an equal study. As a file in ``root`` it has relative paths
        where the study was given such."""
        tree = self.model_dump()
        if root is not None:
            make_relative(tree, self._relative, root)
        return dump_yaml(tree)

    def __eq__(self, other: object) -> bool:
        """Equal values; how their paths were given does not count."""
        return isinstance(other, Study) and dict(self) == dict(other)

    @property
    def environment(self) -> str | None:
        """The id of the environment that is played; None where texts are read."""
        return self.task.removeprefix(PREFIX) if is_environment(self.task) else None

    @property
    def folds(self) -> int:
        """How many policies a trial trains for as many parts of the data that are held out; 1 without folds."""
        return 1 if self.data is None else self.data.folds

    @property
    def parts(self) -> int:
        """How often a trial is trained at most: with other seeds, or under folds."""
        return max(self.search.seeds, self.folds)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a trial is scored by after each epoch."""
        if self.writes:
            return WRITING_METRICS if self.reading == "off" else (*WRITING_METRICS, LAGGING)
        if self.environment is not None:
            return METRICS
        from sweepstack.models.predictions.probabilities import DIRECTION  # brings numpy

        return tuple(DIRECTION)

    @property
    def writes(self) -> bool:
        """Whether a policy answers with a text of its own."""
        return is_writing(self.task)

    def trial_settings(self) -> TrialSettings:
        """What a trial's settings are before a point of the space is put in."""
        own = ("task", "reading", "writing", "model", "train", "device", "precision", "compile")
        return TrialSettings(**{name: getattr(self, name) for name in own})

    def in_folder(self, root: Path) -> "Study":
        """The study as it runs in the run folder ``root``: a tracking store that was not named is the mlflow.db beside
        it, so that one UI shows all studies."""
        if self.tracking.uri is not None:
            return self
        store = Tracking(uri=sqlite_uri(root.absolute().parent / "mlflow.db"))
        placed = self.model_copy(update={"tracking": store})
        placed._relative = self._relative | {STORE}  # it moves with the run folders
        return placed

    def with_store_of(self, stored: "Study") -> "Study":
        """The study with another's tracking store."""
        placed = self.model_copy(update={"tracking": stored.tracking})
        placed._relative = (self._relative - {STORE}) | (stored._relative & {STORE})
        return placed

    @property
    def tracking_uri(self) -> str:
        """Of a study in its run folder, see :meth:`in_folder`."""
        if self.tracking.uri is None:
            raise RuntimeError("the study has no run folder yet")
        return self.tracking.uri

    def builder_specs(self) -> list[Builder]:
        """The builders as ``ensembles.builders.make`` takes them: a name, or a name with its options."""
        return list(self.ensembles.builders)


def _values(axes: Sequence[Axis], path: str) -> Iterator[Any]:
    """What may be chosen at ``path``, also where another choice brings it."""
    for option in (option for axis in axes if isinstance(axis, Choice) for option in axis.options if axis.path == path):
        yield option.value
    for option in (option for axis in axes if isinstance(axis, Choice) for option in axis.options):
        yield from _values(option.inner, path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file; check the path from {Path.cwd()}") from None
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8, or name a study file"
        ) from None
    except (OSError, ValueError) as error:  # a byte of nought is no part of a path
        reason = getattr(error, "strerror", None) or error
        raise StudyError(f"{path}: cannot be read ({reason}); name a study file".replace("\0", "\\0")) from None


def _override(tree: dict[str, Any], text: str, relative: set[str]) -> str:
    """Puts one ``--set`` into ``tree``; returns its key. Keys of the space are paths themselves. ``relative`` are the
    keys of paths that were given relative."""
    key, value = parse_override(text)
    section, _, rest = key.partition(".")
    *parents, leaf = [section, rest] if section == "space" and rest else key.split(".")
    lone: dict[str, Any] = {leaf: value}
    for name in reversed(parents):
        lone = {name: lone}
    relative -= {path for path in relative if f"{path}.".startswith(f"{key}.")}
    relative |= make_absolute(lone, Path.cwd())
    if parents == ["space"] and "space" not in tree:
        tree["space"] = dict(default_space(tree))
    for name in parents:
        lone = lone[name]
        if tree.get(name) is None:
            tree[name] = {}
        if not isinstance(tree[name], dict):
            raise StudyError(f"--set {key}: {name} is {tree[name]!r}, which has no keys; set {name} as a whole")
        tree = tree[name]
    tree[leaf] = lone[leaf]
    return key

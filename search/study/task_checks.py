"""What a study asks for that only another kind of task has: refused by its key before anything starts."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from sweepstack.models.settings.base import SettingError
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.search.study.ensembles_section import Ensembles, refuse_for_answers, refuse_for_writing
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space


class StudyLike(Protocol):
    """What is looked at of a study."""

    @property
    def task(self) -> str: ...

    @property
    def reading(self) -> Reading | Literal["off"]: ...

    @property
    def space(self) -> Mapping[str, Any]: ...

    @property
    def search(self) -> Search: ...

    @property
    def ensembles(self) -> Ensembles: ...

    @property
    def environment(self) -> str | None: ...

    @property
    def writes(self) -> bool: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def trial_settings(self) -> TrialSettings: ...


def check_reading(study: StudyLike) -> None:
    """Of a translation that is written while its source is read: by one member, at one cost."""
    if study.ensembles.builders:
        raise SettingError(
            "ensembles.builders",
            "must be [] where a source is read word by word, as texts that were read differently are not combined",
        )
    for path in Space.parse(study.space, study.trial_settings()).paths():
        if path.startswith(("reading", "writing.decode")):
            raise SettingError(
                f"space.{path}", "cannot be searched where a translation is written while its source is read"
            )


def check_task(study: StudyLike) -> None:
    """Raises SettingError where texts are answered with labels and a setting is for texts that are written, or the
    other way round."""
    if study.environment is not None:
        return
    if not study.writes:
        refuse_for_answers(study.ensembles)
        return
    task, search = study.task, study.search
    if study.reading != "off":
        check_reading(study)
    if search.looks_for_gain:
        raise SettingError(
            "search.metric", f"ensemble_gain is for labels; use one of {', '.join(study.metrics)} under task {task}"
        )
    if search.packing not in ("auto", "off"):
        raise SettingError(
            "search.packing",
            f"must be auto or off under task {task}, whose trials are trained one by one, but got {search.packing}",
        )
    refuse_for_writing(study.ensembles)

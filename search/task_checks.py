"""What a study asks for that only another kind of task has: refused by its key before anything starts."""

from typing import TYPE_CHECKING

from sweepstack.models.base_settings import SettingError
from sweepstack.search.ensemble_settings import refuse_for_answers, refuse_for_writing

if TYPE_CHECKING:
    from sweepstack.search.study import Study


def check_task(study: "Study") -> None:
    """Raises SettingError where texts are answered with labels and a setting is for texts that are written, or the
    other way round."""
    if study.environment is not None:
        return
    if not study.writes:
        refuse_for_answers(study.ensembles)
        return
    task, search = study.task, study.search
    if study.reading != "off":
        raise SettingError("reading", f"must be off under task {task}: a text is read whole before one is written")
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

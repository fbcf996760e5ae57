"""What a run says of itself in a line each, and where these lines stand."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from sweepstack.search.execution.retention import REMOVED
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.notes import ENDED, SHARED, remarks, shared_words
from sweepstack.search.report.result import Result
from sweepstack.search.report.summary import Results, print_results, print_status
from sweepstack.search.study.study import Study


def test_each_line_by_its_label(make_study: Callable[..., Study], make_record: Callable[..., TrialRecord]) -> None:
    study = make_study(search={"keep": {"disk_gb": 0.5}})
    assert remarks(study, {}, [make_record(0, [0.5])]) == {}
    attributes = {
        ENDED: {"budget": "patience", "line": "20 trials without a better one, in 31 of 100 trials"},
        SHARED: {"starts": 4, "trials": 16, "controls": 0, "seconds": 130.2},
    }
    gone = [make_record(n, [0.5], attributes={REMOVED: 12_000_000}) for n in range(3)]
    assert remarks(study, attributes, gone) == {
        "Search": "ended by patience: 20 trials without a better one, in 31 of 100 trials",
        "Shared": "4 supervised starts trained once and shared by 16 trials: 2 min 10 s saved",
        "Removed": "the weights of 3 trials (0.036 GB), as search.keep.disk_gb is 0.5",
    }


def test_a_bound_that_was_taken_back_is_none(
    make_study: Callable[..., Study], make_record: Callable[..., TrialRecord]
) -> None:
    gone = [make_record(0, [0.5], attributes={REMOVED: 2_000_000_000})]
    assert remarks(make_study(), {}, gone) == {"Removed": "the weights of 1 trial (2 GB), under search.keep.disk_gb"}


@pytest.mark.parametrize(
    ("starts", "trials", "controls", "words"),
    [
        (1, 2, 0, "1 supervised start trained once and shared by 2 trials: 6 s saved"),
        (4, 16, 4, "4 supervised starts trained once and shared by 16 trials and 4 of the control: 6 s saved"),
    ],
)
def test_shared_starts_in_words(starts: int, trials: int, controls: int, words: str) -> None:
    assert shared_words(starts=starts, trials=trials, controls=controls, seconds=6.2) == words


def test_they_stand_in_summary_status_and_report(
    finished_run: Path, study: Study, make_record: Callable[..., TrialRecord]
) -> None:
    stream = StringIO()
    said = {"Search": "ended by hand: 3 of 9 trials"}
    print_results(Results(study, Result.open(finished_run).folder.root, make_record(0, [0.5]), remarks=said), stream)
    assert "Search       ended by hand: 3 of 9 trials" in stream.getvalue()
    result = Result.open(finished_run)
    status = result.status()
    assert (status["budget"], status["remarks"]["Search"]) == ("trials", "ended by trials: 4 trials")
    assert set(status["remarks"]) == {"Search", "Control", "Baseline"}, "the made-up trials know a fourth of the rows"
    assert set(result.printable().remarks) == {"Control", "Baseline"}, "that all trials have ended is no news"
    stream = StringIO()
    print_status(status, stream)
    assert "Search       ended by trials: 4 trials" in stream.getvalue()

"""Snapshots of a tiny writer's training: a chain of refits, and the average of what they say of the next token."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_writing import SMALL

from sweepstack.ensembles.builders.retrained import Origin, TrainedOn
from sweepstack.ensembles.builders.writer_snapshots import WriterSnapshots
from sweepstack.ensembles.combinations.member_decoding import decode
from sweepstack.ensembles.combinations.text_combination import TextCombination, single
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.refits.jobs import RefitResult, refit
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.tasks.writing.checkpoint import WriterMember

OBJECTIVE = TextObjective("chrf", "zh")
CYCLES = 2


@pytest.fixture(scope="module")
def results(small_writers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> list[RefitResult]:
    """Two cycles of twelve epochs of the start and one of the second stage."""
    grounds = TrainedOn(tmp_path_factory.mktemp("refits"), small_writers.data, 0)
    settings = SMALL.with_values({"train.epochs": 2, "train.algorithm": "rloo"})
    (chain,) = WriterSnapshots(cycles=CYCLES).chains([Origin(settings, Path("not looked at"))] * 2, grounds)
    found: list[RefitResult] = []
    while (job := chain(found)) is not None:
        assert (job.sample, job.chosen) == (None, False)
        assert job.initial == (found[-1].job.member.checkpoint if found else None)
        found.append(refit(job, small_writers.data, "chrf"))
    return found


def members(results: list[RefitResult]) -> list[Member]:
    return [result.job.member for result in results]


def library(small_writers: SimpleNamespace, results: list[RefitResult], part: str) -> CandidateLibrary:
    own = [*members(results), *small_writers.members]
    return CandidateLibrary.load(own, part, small_writers.data.hashes[part], small_writers.dataset.parts[part].inputs)


def test_each_cycle_begins_where_the_last_one_ended(results: list[RefitResult]) -> None:
    assert [(result.error, len(result.reports)) for result in results] == [(None, 1)] * CYCLES
    first, second = (result.reports[0]["log_loss"] for result in results)
    assert second < first - 0.1, "the second knows what the first has learned"
    assert not any((result.job.folder / "starts").exists() for result in results)


def test_each_is_a_member_that_has_written_every_part(
    small_writers: SimpleNamespace, results: list[RefitResult]
) -> None:
    for part in ("valid", "blend", "test"):
        own = library(small_writers, results, part)
        for place, member in enumerate(members(results)):
            assert own.candidates[place] == WriterMember(member.checkpoint, "cpu").write(own.sources, 2)


def test_what_was_trained_is_not_trained_again(small_writers: SimpleNamespace, results: list[RefitResult]) -> None:
    weights = [member.checkpoint / "weights.safetensors" for member in members(results)]
    before = [path.stat().st_mtime_ns for path in weights]
    assert [refit(result.job, small_writers.data, "chrf") for result in results] == results
    assert [path.stat().st_mtime_ns for path in weights] == before


def test_they_write_together_token_by_token(small_writers: SimpleNamespace, results: list[RefitResult]) -> None:
    builder = WriterSnapshots(cycles=CYCLES).trained([results], None)
    valid = library(small_writers, results, "valid")
    places = builder.choose(valid, [2, 1, 3, 0])
    assert places == (1, 0), "its own alone, best first"
    combination = builder.fit(valid, places, ["nothing"] * len(valid), OBJECTIVE)
    assert combination == TextCombination(
        "token_average", (1, 0), {"mean": "probabilities", "decode": SMALL.writing.decode.model_dump()}
    )
    said = decode(combination, valid.members, valid.sources, "cpu")
    score, *alone = (
        OBJECTIVE.score(valid.sources, small_writers.dataset.parts["valid"].references, each.best)
        for each in (said, *valid.candidates[:CYCLES])
    )
    assert score > min(alone)


def test_one_that_came_to_something_writes_alone(small_writers: SimpleNamespace, results: list[RefitResult]) -> None:
    broken = [results[0], RefitResult(results[1].job, (), "train_loss is not a number")]
    builder = WriterSnapshots(cycles=CYCLES).trained([broken], None)
    valid = library(small_writers, results, "valid")
    places = builder.choose(valid, [1, 0])
    assert len(places) == builder.least
    assert builder.fit(valid, places, [], OBJECTIVE) == single(valid, 0)


def test_a_budget_bounds_the_cycles() -> None:
    assert WriterSnapshots(cycles=4).within(2).cycles == 2
    assert WriterSnapshots(cycles=4).within(1) == WriterSnapshots(cycles=1)
    assert WriterSnapshots(top=2, cycles=4).within(5) == WriterSnapshots(top=2, cycles=2)

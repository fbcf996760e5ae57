from pathlib import Path
from typing import Any

import pytest
from killing import Killed

from sweepstack.ensembles.combinations import member_decoding
from sweepstack.ensembles.members.library import Member
from sweepstack.models.data.pairs import load_pairs
from sweepstack.models.predictions.texts import Candidates
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ensembling import text_decoding
from sweepstack.search.ensembling.members import singles
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.usefixtures("no_ray", "no_mlflow")


def build(run: Path) -> None:
    with Session.open(Study.load(run / "study.yaml"), run, json=True) as session:
        ensembling.build(session)


def test_a_kill_between_two_pieces_repeats_only_what_is_missing(
    writing_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_decoding, "PIECE", 16)
    decode, calls = member_decoding.decode, []

    def counted(combination: Any, members: Any, texts: Any, device: str = "auto") -> Candidates:
        calls.append(tuple(texts))
        if len(calls) == 2:
            raise Killed
        return decode(combination, members, texts, device)

    monkeypatch.setattr(member_decoding, "decode", counted)
    with pytest.raises(Killed):
        build(writing_run)
    build(writing_run)
    result = Result.open(writing_run)
    assert result.built.scored
    assert calls[2:].count(calls[0]) == 0
    assert len(set(calls)) == len(calls) - 1, "but the one that was cut short, nothing is written twice"
    assert sorted(path.name for path in next((writing_run / "decoded").iterdir()).iterdir()) == [
        "SHA256SUMS", "blend.safetensors", "test.safetensors", "valid.safetensors",
    ]  # fmt: skip
    assert result.study.data is not None
    assert result.study.writing is not None
    parts = load_pairs(result.study.data, result.study.task, result.study.writing).parts
    wanted = {text for part in ("valid", "blend", "test") for text in parts[part].inputs}
    assert {text for texts in calls for text in texts} == wanted


def test_what_averages_its_members_is_kept_by_what_it_depends_on(writing_run: Path) -> None:
    with Session.open(Study.load(writing_run / "study.yaml"), writing_run, json=True) as session:
        trials = session.trial_records()
        members = tuple(singles(session, trials, Member("memory", "baseline", session.memory)))
        decoder = text_decoding.Decoder(session, members)

        def average(*places: int, mean: str = "probabilities") -> str:
            decode = {"beam": 2, "length_penalty": 1.0, "candidates": 2}
            combination = text_decoding.TextCombination("token_average", places, {"mean": mean, "decode": decode})
            return decoder.digest(combination)

        digests = {average(0, 1), average(0, 2), average(0, 1, mean="log_probabilities")}
        assert len(digests) == 3
        again = text_decoding.Decoder(session, (members[1], members[0], *members[2:]))
        decode = {"mean": "probabilities", "decode": {"beam": 2, "length_penalty": 1.0, "candidates": 2}}
        moved = text_decoding.TextCombination("token_average", (1, 0), decode)
        assert again.digest(moved) == average(0, 1), "whatever place its members have in a library"


def test_pieces_are_put_together_in_their_order() -> None:
    pieces = [Candidates((("a", "b"),), ((0.5, 0.1),)), Candidates((("c",), ("d",)), ((0.2,), (0.3,)))]
    whole = text_decoding.together(pieces)
    assert whole.best == ["a", "c", "d"]
    assert whole.scores == ((0.5, 0.1), (0.2,), (0.3,))

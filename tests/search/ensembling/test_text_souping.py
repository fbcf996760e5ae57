from dataclasses import replace
from pathlib import Path

import pytest

from sweepstack.ensembles.builders.averaged_text import AveragedText
from sweepstack.ensembles.builders.writer_soup import WriterSoup
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.errors import SweepstackError
from sweepstack.models.predictions.text_metrics import corpus_scores
from sweepstack.models.tasks.writing.checkpoint import WriterMember
from sweepstack.search.ensembling import text_souping
from sweepstack.search.ensembling.text_souping import souped
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.usefixtures("no_ray", "no_mlflow")
CHRF = TextObjective("chrf", "zh")


def test_writers_of_one_start_are_mixed_once(writing_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builders = [AveragedText(), WriterSoup("uniform")]
    with Session.open(Study.load(writing_run / "study.yaml"), writing_run, json=True) as session:
        trials = session.trials.trials()
        made = souped(session, trials, builders, CHRF)
        assert made.builders == tuple(builders)
        (member,) = made.members
        assert (member.kind, member.folder.parent) == ("soup", session.folder.soups)
        checkpoints = [session.folder.of(record) / "checkpoint" for record in trials]
        weights = [WriterMember(each, "cpu").writer.state_dict() for each in checkpoints]
        mixed = WriterMember(member.checkpoint, "cpu")
        name = next(iter(weights[0]))
        mean = sum(each[name].double() for each in weights) / len(weights)
        assert mixed.writer.state_dict()[name].double().sub(mean).abs().max() < 1e-6
        valid = session.pairs.parts["valid"]
        said = mixed.write(valid.inputs).best
        assert corpus_scores(said, valid.references, "zh")["chrf"] >= 0

        def never(*_: object) -> None:
            raise SweepstackError("it is made already")

        monkeypatch.setattr(text_souping, "cook_writer", never)
        assert souped(session, trials, builders, CHRF) == made


def test_without_two_trials_of_one_start_there_is_none_and_a_note_says_why(writing_run: Path) -> None:
    with Session.open(Study.load(writing_run / "study.yaml"), writing_run, json=True) as session:
        trials = session.trials.trials()
        others = [replace(r, settings={**r.settings, "train.warm_start.seed": r.number}) for r in trials]
        made = souped(session, others, [AveragedText(), WriterSoup()], CHRF)
        assert (made.members, made.builders) == ((), (AveragedText(),))
        assert made.notes[0].startswith("soup was left out: no two of 3 trials have the same supervised start")
        assert souped(session, trials[:1], [WriterSoup()], CHRF).notes[0].endswith("there is but one trial")
        assert souped(session, trials, [AveragedText()], CHRF).notes == ()
        assert not session.folder.soups.exists()

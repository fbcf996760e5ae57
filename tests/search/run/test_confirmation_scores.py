"""The confirmation on blend: the scores of its own trials' predictions, which are made by hand."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.tasks.writing.stage import candidate_metrics
from sweepstack.search.ledger.confirmation import ON_BLEND, Confirmation
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.run.confirmation_scores import score_on_blend
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study


def confirmed(session: Session, losing: int | None = None) -> list[dict[str, Any]]:
    """Takes the predictions of the first trials for those of the confirmation of trial 0, and scores them; returns the
    attributes of its trials. Trial ``losing`` has none."""
    sweep = session.confirm(session.trials.record(0))
    while (record := sweep.ask()) is not None:
        folder = session.folder.confirmation(0, record.number)
        if record.number != losing:
            shutil.copytree(session.folder.trial(record.number) / "predictions", folder / "predictions")
        metric = session.study.search.objective
        for epoch in range(1, sweep.epochs_of(record.number) + 1):
            sweep.report(record.number, epoch, {metric: 0.5})
        sweep.complete(record.number)
    score_on_blend(session, sweep)
    return [record.attributes for record in sweep.trials()]


def test_classifiers_are_scored_by_their_answers_on_blend(run: Path) -> None:
    session = Session.open(Study.load(run / "study.yaml"), run, json=True)
    found = confirmed(session, losing=2)
    labels, costs = session.dataset.parts["blend"].labels, Costs(session.cost)
    for number in (0, 1):
        said, _ = Predictions.load(session.folder.trial(number) / "predictions" / "blend.safetensors")
        assert found[number][ON_BLEND] == metrics(said, labels, costs)["reward"]
    assert ON_BLEND not in found[2], "its predictions are gone"
    session.ledger.close()
    with Ledger.open(run / "ledger.log", writable=False) as ledger:
        records = ledger.records("confirmation-0")
        worth = Confirmation.of(ledger.records("trials")[0], records[:2], "reward")
    assert worth is not None
    assert (worth.rows, worth.values) == ("blend", tuple(each[ON_BLEND] for each in found[:2]))
    assert worth.on_valid == 0.5


@pytest.mark.parametrize("metric", ["chrf", "log_loss"])
def test_writers_are_scored_by_their_texts_on_blend_where_these_tell(
    writing_run: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.load(writing_run / "study.yaml")
    session = Session.open(study, writing_run, json=True)
    changed = study.model_copy(update={"search": study.search.model_copy(update={"metric": metric})})
    monkeypatch.setattr(session, "study", changed)
    found = confirmed(session)
    session.ledger.close()
    if metric == "log_loss":
        assert not any(ON_BLEND in each for each in found), "only a writer itself has one"
        return
    data = session.written
    part, tokenizers = data.parts["blend"], Tokenizers.from_json(data.tokenizers)
    candidates, _ = Candidates.load(session.folder.trial(1) / "predictions" / "blend.safetensors")
    reward = session.reward_of(data.language)
    expected = candidate_metrics(candidates, part.inputs, part.references, reward, data.language, tokenizers)
    assert found[1][ON_BLEND] == pytest.approx(expected["chrf"])

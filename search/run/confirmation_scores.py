"""The confirmation's trials scored on blend: rows that the search, which ranks by valid, has not used either."""

from typing import TYPE_CHECKING

from sweepstack.ensembles.members.library import UNREADABLE, found
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics
from sweepstack.search.ledger.confirmation import ON_BLEND

if TYPE_CHECKING:
    from pathlib import Path

    from sweepstack.search.execution.sweep import Sweep
    from sweepstack.search.run.session import Session


def score_on_blend(session: "Session", confirmation: "Sweep") -> None:
    """Keeps with each complete trial the search's first objective on blend, where there is one; what is known stays.

    It is left out in an environment, under folds, where predictions are gone and where the metric cannot be worked out
    of them: the confirmation is then that of valid.
    """
    for record in confirmation.trials():
        if record.state == "complete" and ON_BLEND not in record.attributes:
            worth = _measured(session, session.folder.of(record)).get(session.study.search.objective)
            if worth is not None:
                confirmation.set_trial_attribute(record.number, ON_BLEND, worth)


def _measured(session: "Session", folder: "Path") -> dict[str, float]:
    """Every metric of what the policy in ``folder`` has said of blend."""
    path = folder / "predictions" / "blend.safetensors"
    if session.study.environment is not None or "blend" not in session.hashes or not path.exists():
        return {}
    rows_hash = session.hashes["blend"]
    if not session.study.writes:
        said = found(path, rows_hash)
        costs = Costs(session.cost, session.dataset.costs)
        return {} if said is None else metrics(said, session.dataset.parts["blend"].labels, costs)
    from sweepstack.models.data.bpe import Tokenizers
    from sweepstack.models.predictions.texts import Candidates
    from sweepstack.models.tasks.writing.stage import candidate_metrics  # brings sacrebleu

    try:
        candidates, written_for = Candidates.load(path)
    except UNREADABLE:
        return {}
    part, language = session.written.parts["blend"], session.written.language
    if written_for != rows_hash or part.references is None or session.reward_of is None:
        return {}
    reward, tokenizers = session.reward_of(language), Tokenizers.from_json(session.written.tokenizers)
    cost = session.settings.read_cost
    return candidate_metrics(candidates, part.inputs, part.references, reward, language, tokenizers, cost)

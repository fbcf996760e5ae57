"""Whether policy optimisation has paid: the best trial of a study that writes, on test, beside its controls.

A gain of policy optimisation may be that of further training, or of anything but the reward (Choshen et al. 2020). What
tells is the difference to trials that are trained by more cross-entropy, or whose reward says nothing: a sweep of its
own, or trials of the study that are one or the other.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles.comparison import Gain
from sweepstack.search import format as fmt

if TYPE_CHECKING:
    from sweepstack.search.study import Study
    from sweepstack.search.trial_record import TrialRecord

WORDS = {"supervised": "more supervised training", "constant": "a constant reward"}
OF_READING = {"supervised": "waiting for a fixed number of words", "constant": "a constant reward"}
"""What a control does instead, by its method, and where a policy learns when to read on."""


def controls_among(
    study: "Study", records: Sequence["TrialRecord"], members: Collection[str] | None = None
) -> dict[str, str]:
    """The trials of a study that are controls, by name, with the method of each; only of ``members``. None are where
    no trial is anything else: then there is nothing to compare with."""
    methods = {r.member_name: _method(study, r) for r in records if members is None or r.member_name in members}
    if None not in methods.values():
        return {}
    return {name: method for name, method in methods.items() if method is not None}


def _method(study: "Study", record: "TrialRecord") -> str | None:
    if record.settings.get("train.algorithm", study.train.algorithm) == "supervised":
        return "supervised"
    return "constant" if record.settings.get("train.reward", study.train.reward) == "constant" else None


def paying(study: "Study", rows: Sequence[Mapping[str, Any]], records: Sequence["TrialRecord"]) -> str:
    """In a line, where policy optimisation is not clearly ahead of a control: the 95% interval of the paired difference
    on test is not above 0. ``rows``: of the table of ensembles, as JSON; empty where it is, or nobody knows."""
    trial = next((row for row in rows if row["role"] == "trial"), None)
    if not study.writes or trial is None:
        return ""
    words, name = WORDS if study.reading == "off" else OF_READING, trial["name"]
    own = controls_among(study, records).get(name)
    if own is not None:
        return f"policy optimisation did not pay on valid: the best trial, {name}, is one of {words[own]}"
    metric = study.search.objective if study.search.objective in trial["blend"] else "chrf"
    controls = [row for row in rows if row["role"] == "control" and row["gain_over_trial"]]
    ahead = [(row, _over(row["gain_over_trial"])) for row in controls]
    said = [
        f"{fmt.gain(gain, metric)} over {words[row['method']]} ({row['name']})" for row, gain in ahead if gain.low <= 0
    ]
    if not said:
        return ""
    return f"policy optimisation did not clearly pay on test: {metric} of {name} {' and '.join(said)}"


def _over(behind: Mapping[str, float]) -> Gain:
    """The trial's gain over a control, whose own over the trial is ``behind``."""
    return Gain(*(0.0 - behind[end] for end in ("mean", "high", "low")))

"""Whether the search has paid: the best trial on test, beside its controls and baselines.

A gain of policy optimisation may be that of further training, or of anything but the reward (Choshen et al. 2020). What
tells is the difference to trials that are trained by more cross-entropy, or whose reward says nothing: a sweep of its
own, or trials of the study that are one or the other. And a model that costs seconds may be as good as all of them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles.scoring.bootstrap import Gain
from sweepstack.search import format as fmt

if TYPE_CHECKING:
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.study import Study

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


def paying(study: "Study", rows: Sequence[Mapping[str, Any]], records: Sequence["TrialRecord"]) -> dict[str, str]:
    """A line by its label for controls, and one for baselines, where the best trial is not clearly ahead of them: the
    95% interval of the paired difference on test is not above 0. Where one lies below 0 the trial is said to be behind.
    ``rows``: of the table of ensembles, as JSON."""
    trial = next((row for row in rows if row["role"] == "trial"), None)
    if trial is None:
        return {}
    words, name = OF_READING if study.writes and study.reading != "off" else WORDS, trial["name"]
    metric = study.search.objective if study.search.objective in trial["blend"] else "chrf"
    found = {}
    own = controls_among(study, records).get(name)
    if own is not None:
        found["Control"] = f"policy optimisation did not pay on valid: the best trial, {name}, is one of {words[own]}"
    elif compared := _not_behind(rows, "control", trial, metric, words):
        sure, line = compared
        found["Control"] = f"policy optimisation did not {'' if sure else 'clearly '}pay on test: {line}"
    if compared := _not_behind(rows, "baseline", trial, metric, words):
        sure, line = compared
        found["Baseline"] = (
            f"the best trial is {'behind' if sure else 'not clearly ahead of'} the baseline on test: {line}"
        )
    return found


def _not_behind(
    rows: Sequence[Mapping[str, Any]], role: str, trial: Mapping[str, Any], metric: str, words: Mapping[str, str]
) -> tuple[bool, str] | None:
    """Whether the trial is surely behind one of the role, and ``reward of trial-11 .906 against .915 of linear, -.009
    [-.018, .000]``; None where all of the role are clearly behind the trial."""
    said, sure = [], False
    for row in rows:
        if row["role"] != role or not row["gain_over_trial"]:
            continue
        ahead = _over(row["gain_over_trial"])
        if ahead.known and ahead.low <= 0:
            sure = sure or ahead.high < 0
            who = f"{words[row['method']]} ({row['name']})" if row["method"] in words else row["name"]
            said.append(f"{fmt.metric(metric, row['test'][metric])} of {who}, {fmt.gain(ahead, metric)}")
    if not said:
        return None
    own = fmt.metric(metric, trial["test"][metric])
    return sure, f"{fmt.metric_name(metric)} of {trial['name']} {own} against {', and '.join(said)}"


def _over(behind: Mapping[str, float]) -> Gain:
    """The trial's gain over a control, whose own over the trial is ``behind``."""
    return Gain(*(0.0 - behind[end] for end in ("mean", "high", "low")))

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.search.ledger.confirmation import Confirmation
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.study.study import Study
from sweepstack.search.tracking.run_states import PARENT, ensemble_state, member_state, parent_state, trial_state

Make = Callable[..., TrialRecord]
FOLDER = Path("/runs/quickstart/trials/7")


@pytest.mark.parametrize(
    ("state", "status"),
    [("complete", "finished"), ("pruned", "finished"), ("failed", "failed"), ("running", "running")],
)
def test_a_trial_has_a_status_of_mlflow_and_its_own_state_as_a_tag(make_record: Make, state: str, status: str) -> None:
    shown = trial_state(make_record(7, [0.8, 0.9], state), FOLDER)
    assert (shown.status, shown.tags["state"]) == (status, state)
    assert (shown.ended is None) == (state == "running")


def test_a_trial_shows_its_settings_and_its_metrics_by_epoch(make_record: Make) -> None:
    record = make_record(7, [0.8, 0.9])
    shown = trial_state(record, FOLDER)
    assert shown.key == "trials-7"
    assert shown.name == "trial 7"
    assert shown.params == record.settings
    assert [(step, values["reward"]) for step, values in shown.metrics] == [(1, 0.8), (2, 0.9)]
    assert (shown.started, shown.ended) == (1000.0, 1010.0)
    assert shown.tags == {"role": "trial", "state": "complete", "checkpoint": str(FOLDER / "checkpoint")}
    assert shown.parent


def test_only_a_running_trial_is_interrupted(make_record: Make) -> None:
    before = time.time()
    stopped = trial_state(make_record(1, [0.8], "running"), FOLDER, interrupted=True)
    assert (stopped.status, stopped.tags["state"]) == ("killed", "interrupted")
    assert stopped.ended is not None
    assert before <= stopped.ended <= time.time()
    done = make_record(2, [0.8])
    assert trial_state(done, FOLDER, interrupted=True) == trial_state(done, FOLDER)


def test_rung_and_reason_are_tags_where_there_are_any(make_record: Make) -> None:
    assert trial_state(make_record(3, [0.8], "pruned", rung=0), FOLDER).tags["rung"] == "0"
    failed = trial_state(make_record(4, [], "failed", reason="loss is not a number"), FOLDER)
    assert failed.tags["reason"] == "loss is not a number"
    assert "rung" not in failed.tags


def test_a_member_of_a_population_says_where_it_comes_from(make_record: Make) -> None:
    lineage = {"member": 2, "generation": 1, "parent": 0, "epochs_before": 1}
    tags = trial_state(make_record(6, [0.8], attributes=lineage), FOLDER).tags
    assert (tags["member"], tags["generation"], tags["parent"]) == ("2", "1", "0")
    first = trial_state(make_record(2, [0.8], attributes={"member": 2, "generation": 0}), FOLDER).tags
    assert "parent" not in first


def test_a_control_is_no_trial(make_record: Make) -> None:
    shown = trial_state(make_record(0, [0.8], sweep="supervised"), FOLDER)
    assert (shown.key, shown.name, shown.tags["role"]) == ("supervised-0", "supervised 0", "control")


def test_the_parent_shows_what_is_searched_and_at_its_end_the_best_value(make_study: Any, make_record: Make) -> None:
    study = make_study(search={"metric": "log_loss", "sampler": "random"}, space={"train.lr": {"log": [1e-3, 1e-2]}})
    best = make_record(3, [0.9], value=0.21)
    running = parent_state(study, "running", 500.0, best)
    assert (running.key, running.name, running.parent) == (PARENT, "quickstart", False)
    assert running.params["search.sampler"] == "random"
    assert running.params["data.train"] == "builtin:languages"
    assert running.params["space.train.lr"] == "{'log': [0.001, 0.01]}"
    assert (running.started, running.ended, running.metrics) == (500.0, None, ())
    finished = parent_state(study, "finished", 500.0, best)
    assert finished.metrics == ((0, {"best_log_loss": 0.21}),)
    assert (finished.status, finished.tags["state"]) == ("finished", "finished")
    assert finished.ended is not None
    assert parent_state(study, "killed", 500.0, None).metrics == ()


def test_params_do_not_change_while_a_sweep_is_extended(make_study: Callable[..., Study]) -> None:
    """A param of MLflow cannot be changed, and the number of trials may be."""
    states = [parent_state(make_study(search={"trials": n}), "running", 0.0, None) for n in (4, 8)]
    assert states[0].params == states[1].params


def test_what_is_trained_in_one_go_has_taken_its_seconds() -> None:
    reports = [{"reward": 0.8}, {"reward": 0.9}]
    shown = member_state("refit-ab", "refit-ab", "refit", FOLDER, reports, {"train.lr": 0.1}, 12.5)
    assert shown.metrics == ((1, {"reward": 0.8}), (2, {"reward": 0.9}))
    assert shown.ended is not None
    assert shown.ended - shown.started == pytest.approx(12.5)
    assert (shown.status, shown.tags["role"], shown.params) == ("finished", "refit", {"train.lr": 0.1})


def test_an_ensemble_shows_each_part_and_what_it_costs(rows: tuple[Row, ...]) -> None:
    shown = ensemble_state(rows[0], "abc", exported=True, bundle=Path("/b"))
    ((step, values),) = shown.metrics
    assert step == 0
    assert (values["valid_reward"], values["blend_reward"], values["test_reward"]) == (0.921, 0.919, 0.914)
    assert (values["size_mb"], values["latency_ms"]) == (3.1, 1.2)
    assert shown.params == {"method": "selection", "members": "trial-7, trial-3, linear", "stop": "its own"}
    assert (shown.tags["exported"], shown.model) == ("true", Path("/b"))


def test_what_was_not_measured_is_left_out(rows: tuple[Row, ...]) -> None:
    bare = replace(rows[0], test=None, test_interval=None, size_mb=None, latency_ms=0.0)
    ((_, values),) = ensemble_state(bare, "abc", exported=False, bundle=Path("/b")).metrics
    assert not any(name.startswith("test_") for name in values)
    assert "size_mb" not in values
    assert values["latency_ms"] == 0.0


def test_an_ensemble_shows_its_gains_what_it_costs_and_whether_it_may(rows: tuple[Row, ...]) -> None:
    row = replace(rows[0], latency_32_ms=0.3, front=True, over_budget="size_mb 3.1 > 1")
    shown = ensemble_state(row, "abc", exported=False, bundle=Path("/b"))
    ((_, values),) = shown.metrics
    assert (values["members"], values["latency_32_ms"], values["test_reward_interval"]) == (3, 0.3, 0.014)
    assert [values[f"gain_over_linear_{end}"] for end in ("mean", "low", "high")] == [0.014, -0.003, 0.025]
    assert (shown.tags["pareto"], shown.tags["over_budget"]) == ("true", "size_mb 3.1 > 1")


def test_an_ensemble_of_other_members_is_another_run(rows: tuple[Row, ...]) -> None:
    keys = {ensemble_state(row, digest, False, Path("/b")).key for row in rows for digest in ("abc", "def")}
    assert len(keys) == 2 * len(rows)


def test_an_environments_parent_names_its_task_and_no_data(environment_study: Study, played_record: Make) -> None:
    shown = parent_state(environment_study, "finished", 1000.0, played_record(3, [480.0]))
    assert shown.params["task"] == "gym:CartPole-v1"
    assert not any(name.startswith("data") for name in shown.params)
    assert shown.metrics == ((0, {"best_reward": 480.0}),)


def test_repetitions_are_named_and_their_means_and_spreads_are_the_runs_own(raced_record: Make) -> None:
    record = raced_record(7, [[0.8, 0.9], [0.7, 0.8]])
    shown = dict(trial_state(record, FOLDER).metrics)
    assert [shown[epoch].get(f"seed_{(epoch - 1) // 2}/reward") for epoch in (1, 2, 3, 4)] == [0.8, 0.9, 0.7, 0.8]
    assert "reward" not in shown[1]
    assert shown[5]["reward"] == pytest.approx(0.85)
    assert shown[5]["reward_sd"] == pytest.approx(0.0707, abs=1e-4)
    assert shown[5]["seeds"] == 2
    running = trial_state(replace(record, state="running"), FOLDER)
    assert max(step for step, _ in running.metrics) == 4, "until then it may change, which MLflow's history cannot"


def test_the_parent_holds_mean_spread_confirmation_and_front(
    make_study: Callable[..., Study], raced_record: Make
) -> None:
    study = make_study(search={"seeds": 2, "metric": ["reward", "seconds"]})
    confirmed = Confirmation(7, "reward", 0.85, (0.83, 0.84), 0.835, 0.77, 0.9, "blend", 0.84)
    shown = parent_state(study, "finished", 0.0, raced_record(7, [[0.9], [0.8]]), confirmed, (7, 3))
    values = shown.metrics[0][1]
    assert (values["best_reward"], values["reward"], values["seeds"]) == pytest.approx((0.85, 0.85, 2))
    assert values["reward_sd"] == pytest.approx(0.0707, abs=1e-4)
    assert [values[f"confirmed_blend_reward{end}"] for end in ("", "_low", "_high")] == [0.835, 0.77, 0.9]
    assert values["confirmed_valid_reward"] == 0.84
    assert (shown.tags["pareto"], values["pareto_trials"]) == ("7, 3", 2)


def test_a_confirmations_trials_have_a_role_of_their_own(make_record: Make) -> None:
    shown = trial_state(make_record(1, [0.8], sweep="confirmation-7"), FOLDER)
    assert (shown.tags["role"], shown.key) == ("confirmation", "confirmation-7-1")


def test_an_ensemble_of_texts_has_gains_in_other_metrics_and_the_utility(
    writing_rows: tuple[Row, ...], tmp_path: Path
) -> None:
    state = ensemble_state(writing_rows[0], "0123", True, tmp_path)
    assert state.params == {
        "method": "minimum_bayes_risk",
        "members": "trial-3, trial-1, memory",
        "utility": "chrf",
    }
    ((_, measured),) = state.metrics
    assert measured["test_chrf"] == 41.7
    assert measured["gain_over_linear_mean"] == 8.81
    assert [measured[f"bleu_gain_over_trial_{end}"] for end in ("mean", "low", "high")] == [4.02, 3.1, 4.94]

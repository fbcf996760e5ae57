import io
import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.errors import StorageError
from sweepstack.search.ledger.leaderboard import (
    Company,
    best,
    best_metrics,
    best_so_far,
    control,
    front,
    leaderboard,
    rank,
    ranked,
    seconds,
    spreads,
    write_leaderboard,
)
from sweepstack.search.ledger.records import TrialRecord, record_of

Make = Callable[..., TrialRecord]
PATHS = ("train.lr", "train.lr_schedule", "train.gamma")
LINEAR = Company("linear", "baseline", {"reward": 0.89, "accuracy": 0.92, "segments": 4.4}, 5.0)


def test_rows_are_sorted_by_the_metric_with_the_company_among_them(make_record: Make) -> None:
    records = [make_record(0, [0.85]), make_record(1, [0.88, 0.91]), make_record(2), make_record(3, [0.99], "failed")]
    frame = leaderboard(records, [LINEAR], PATHS)
    assert list(frame["name"]) == ["trial 1", "linear", "trial 0", "trial 2", "trial 3"]
    assert list(frame["role"]) == ["trial", "baseline", "trial", "trial", "trial"]
    assert frame["number"].isna().tolist() == [False, True, False, False, False]


def test_less_is_better_for_log_loss(make_record: Make) -> None:
    a, b = make_record(0, [0.5], value=0.4), make_record(1, [0.5], value=0.2)
    assert [r.number for r in ranked([a, b], "log_loss")] == [1, 0]
    assert rank(0.4, "log_loss") > rank(0.2, "log_loss")
    assert rank(math.nan, "reward") == rank(None, "reward") == math.inf


def test_a_trial_stands_with_the_metrics_of_its_best_epoch(make_record: Make) -> None:
    record = make_record(4, [0.8, 0.9, 0.85], "pruned", rung=2)
    row = leaderboard([record], [], PATHS).iloc[0]
    assert row["reward"] == 0.9
    assert row["accuracy"] == pytest.approx(0.922)
    assert (row["best_epoch"], row["epochs"], row["rung"]) == (2, 3, 2)
    assert (row["state"], row["train.gamma"], row["train.lr_schedule"]) == ("pruned", 0.999, "cosine")
    assert best_metrics(make_record(5)) == {}


@given(
    rewards=st.lists(st.sampled_from([0.1, 0.5, 0.5, 0.9, 0.7]), min_size=1, max_size=9),
    length=st.integers(1, 4),
    part=st.sampled_from(["repetition", "fold", None]),
    metric=st.sampled_from(["reward", "log_loss"]),
)
def test_what_it_would_have_said_after_each_epoch_is_what_the_ledger_holds_by_then(
    rewards: list[float], length: int, part: str | None, metric: str
) -> None:
    """``best_so_far`` against a record of every beginning of the trial."""
    reports = [
        {metric: reward, "accuracy": epoch / 10, **({} if part is None else {part: 1.0 + epoch // length})}
        for epoch, reward in enumerate(rewards)
    ]
    known: dict[str, float] = {}
    for epoch in range(1, len(reports) + 1):
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            intermediate_values={e: reports[e - 1][metric] for e in range(1, epoch + 1)},
            user_attrs={f"report:{e}": reports[e - 1] for e in range(1, epoch + 1)},
        )
        record = record_of("trials", trial, {}, metric == "reward")
        said = best_so_far(record, [metric, "accuracy", "none"])
        known |= said.get(epoch, {})
        shown = best_metrics(record)
        assert known == {
            f"best_{metric}": record.value,
            "best_accuracy": shown["accuracy"],
            "best_epoch": record.best_epoch,
        }
        assert list(said.values())[-1] == known


def test_seconds_are_those_of_work_or_else_of_the_clock(make_record: Make) -> None:
    assert seconds(make_record(0, [0.8, 0.9])) == 3.0
    assert seconds(make_record(0)) == 10.0
    assert seconds(make_record(0, state="running")) is None


def test_the_best_trial_is_the_first_of_equals_that_did_not_fail(make_record: Make) -> None:
    records = [make_record(2, [0.9]), make_record(1, [0.9], "pruned"), make_record(0, [0.95], "failed")]
    leader = best(records, "reward")
    assert leader is not None
    assert leader.number == 1
    assert best([make_record(0, [0.95], "failed"), make_record(1, state="running")], "reward") is None


def test_the_control_is_one_row_with_its_settings(make_record: Make) -> None:
    records = [make_record(0, [0.8], sweep="supervised"), make_record(1, [0.82], sweep="supervised")]
    row = control(records, "reward")
    assert row is not None
    assert (row.name, row.role, row.valid["reward"], row.seconds) == ("supervised", "control", 0.82, 1.5)
    assert control([], "reward") is None
    frame = leaderboard([], [row], PATHS)
    assert frame.iloc[0]["train.lr"] == 8.1e-3
    assert pd.isna(frame.iloc[0]["number"])


def test_the_file_gives_back_what_was_written(make_record: Make, tmp_path: Path) -> None:
    frame = leaderboard([make_record(0, [1 / 3]), make_record(1, state="failed", reason='a, "b"\nc')], [LINEAR], PATHS)
    write_leaderboard(tmp_path / "leaderboard.csv", frame)
    text = (tmp_path / "leaderboard.csv").read_text()
    assert text.startswith("number,name,role,state,train.lr,train.lr_schedule,train.gamma,epochs,best_epoch,reward,")
    again = pd.read_csv(io.StringIO(text), dtype={"number": "Int64"})
    assert again["reward"].tolist()[:2] == [0.89, 1 / 3]
    assert again["number"].astype(object).where(again["number"].notna(), None).tolist() == [None, 0, 1]
    assert again["reason"].tolist()[2] == 'a, "b"\nc'
    assert [p.name for p in tmp_path.iterdir()] == ["leaderboard.csv"]


def test_an_empty_sweep_has_a_table_without_rows() -> None:
    assert leaderboard([], [], PATHS).empty


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*leaderboard\.csv"):
        write_leaderboard(tmp_path / "file" / "leaderboard.csv", leaderboard([], [], PATHS))


def test_an_environments_columns_are_its_own_metrics(played_record: Make) -> None:
    records = [played_record(0, [20.0, 15.0]), played_record(1, [400.0])]
    frame = leaderboard(records, [], ["train.lr"], "reward", ("reward", "reward_std", "length"))
    assert list(frame.columns) == [
        "number", "name", "role", "state", "train.lr", "epochs", "best_epoch", "reward", "reward_std", "length",
        "seconds", "rung", "reason",
    ]  # fmt: skip
    assert list(frame["reward"]) == [400.0, 20.0]
    assert list(frame["best_epoch"]) == [1, 1]


def test_seeds_have_means_and_spreads_in_one_row(raced_record: Make) -> None:
    records = [raced_record(0, [[0.8, 0.9], [0.7, 0.8]]), raced_record(1, [[0.95, 0.5]])]
    frame = leaderboard(records, [LINEAR], PATHS, seeds=2)
    assert list(frame["name"]) == ["linear", "trial 0", "trial 1"], "a mean over fewer seeds was never confirmed"
    row = frame.iloc[1]
    assert (row["seeds"], row["best_epoch"], row["epochs"]) == (2, 2, 4)
    assert row["reward"] == pytest.approx(0.85)
    assert row["reward_sd"] == pytest.approx(0.05 * math.sqrt(2))
    assert row["accuracy_sd"] == pytest.approx(0.05 * math.sqrt(2))
    assert row["seconds"] == 6.0, "all the work that the setting got"
    assert math.isnan(frame.iloc[2]["reward_sd"])
    assert list(frame.columns)[list(frame.columns).index("reward") + 1] == "reward_sd"
    leader = best(records, "reward")
    assert leader is not None
    assert leader.number == 0
    assert spreads(records[1]) == {}


def test_folds_have_a_column_of_their_own_name(raced_record: Make) -> None:
    frame = leaderboard([raced_record(0, [[0.8, 0.9], [0.7]])], [LINEAR], PATHS, seeds=3, part="folds")
    assert "seeds" not in frame.columns
    assert frame["folds"].dropna().tolist() == [2], "the baseline has none"


def test_the_front_is_marked(make_record: Make) -> None:
    objectives = ({"reward": 0.9, "segments": 4.0}, {"reward": 0.8, "segments": 2.0}, {"reward": 0.8, "segments": 3.0})
    records = [make_record(n, [o["reward"]], objectives=o) for n, o in enumerate(objectives)]
    records.append(make_record(3, [0.99], "pruned", objectives={"reward": 0.99, "segments": 1.0}))
    numbers = front(records, ("reward", "segments"))
    assert numbers == (0, 1), "the third is no better and reads more, the fourth was stopped"
    frame = leaderboard(records, [LINEAR], PATHS, pareto=numbers)
    assert dict(zip(frame["name"], frame["pareto"], strict=True)) == {
        "trial 0": True, "trial 1": True, "trial 2": False, "trial 3": False, "linear": False
    }  # fmt: skip
    assert "pareto" not in leaderboard(records, [], PATHS).columns


def test_a_control_that_had_seeds_stands_with_its_spread(raced_record: Make) -> None:
    row = control([raced_record(0, [[0.9], [0.8]], sweep="supervised")], "reward")
    assert row is not None
    assert row.valid["reward_sd"] == pytest.approx(0.05 * math.sqrt(2))
    frame = leaderboard([raced_record(1, [[0.7], [0.6]])], [row], PATHS, seeds=2)
    assert list(frame["name"]) == ["supervised", "trial 1"]
    assert frame.iloc[0]["reward_sd"] == row.valid["reward_sd"]

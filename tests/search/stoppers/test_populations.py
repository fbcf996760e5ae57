"""A population in a ledger: the same story whoever is done first and whenever the driver is killed."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.stoppers.pbt import Population, population_of
from sweepstack.search.study.search_section import PBT, PBTStopper, Search
from sweepstack.search.study.space import Space

SPACE = Space.parse(
    {
        "train.lr": {"log": [3e-4, 3e-2]},
        "train.gamma": {"near_one": [0.9, 0.9999]},
        "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}],
        "train.warm_start.seed": [0, 1, 2, 3],
        "model.dropout": {"range": [0.0, 0.5]},
    },
    TrialSettings(),
)
SIZE, GENERATIONS = 4, 3
SEARCH = Search(sampler="random", stopper=PBTStopper(), trials=SIZE * GENERATIONS)


def sweep_of(ledger: Ledger, search: Search = SEARCH) -> Sweep:
    return open_sweep(ledger, MAIN, space=SPACE, search=search, epochs=GENERATIONS)


def metrics(record: TrialRecord) -> dict[str, float]:
    """What a trial reports depends on its place in the population and its settings alone; one of them fails."""
    member, generation = record.attributes["member"], record.attributes["generation"]
    if (member, generation) == (2, 1):
        return {"reward": float("nan")}
    return {"reward": derive_seed(member, generation, sorted(record.settings.items())) / 2**31}


def end(sweep: Sweep, record: TrialRecord) -> None:
    if sweep.report(record.number, 1, metrics(record)) == "continue":
        sweep.complete(record.number)


def play_all(sweep: Sweep) -> None:
    while (record := sweep.ask()) is not None:
        end(sweep, record)


def story(sweep: Sweep) -> dict[tuple[int, int], Any]:
    """What became of every place in the population; parents by their place, as numbers depend on who was first."""
    places = {r.number: (r.attributes["member"], r.attributes["generation"]) for r in sweep.trials()}
    return {
        places[r.number]: (
            r.state,
            r.settings,
            r.reports if r.state == "complete" else None,
            places.get(r.attributes.get("parent", -1)),
        )
        for r in sweep.trials()
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.log") as opened:
        yield opened


def test_a_population_is_rows_of_the_ledger(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    assert population_of(SEARCH, GENERATIONS) == Population(PBT(), GENERATIONS, 0)
    play_all(sweep)
    assert not sweep.unfinished
    assert not sweep.expects
    records = sweep.trials()
    assert [r.number for r in records] == list(range(SIZE * GENERATIONS))
    assert {sweep.epochs_of(r.number) for r in records} == {1}
    assert sorted((r.attributes["generation"], r.attributes["member"]) for r in records) == [
        (g, m) for g in range(GENERATIONS) for m in range(SIZE)
    ]
    explorers = 0
    for record in records:
        known = record.attributes
        if known["generation"] == 0:
            assert "parent" not in known
            continue
        parent = records[known["parent"]]
        assert parent.attributes["generation"] == known["generation"] - 1
        assert parent.state == "complete"
        assert known["epochs_before"] == known["generation"]
        if parent.attributes["member"] == known["member"]:
            assert record.settings == parent.settings
        else:
            explorers += 1
            assert record.settings != parent.settings
            assert record.settings["train.warm_start.seed"] == parent.settings["train.warm_start.seed"]
            assert record.settings["model.dropout"] == parent.settings["model.dropout"]
    assert explorers == 2, "one in each generation, and the failed one is the worst of its own"
    assert [r.state for r in records].count("failed") == 1
    study = optuna.load_study(study_name=MAIN, storage=ledger.storage)
    assert study.best_value == max(r.value for r in records if r.value is not None)


def test_how_many_work_at_a_time_changes_nothing(tmp_path: Path) -> None:
    """Ten times at random: whoever is done first is."""
    stories = []
    for seed in range(10):
        random_ = random.Random(seed)
        with Ledger.open(tmp_path / f"{seed}.log") as ledger:
            sweep = sweep_of(ledger)
            working: list[TrialRecord] = []
            while True:
                record = sweep.ask() if len(working) < 1 + seed % 5 else None
                if record is not None:
                    working.append(record)
                elif working:
                    end(sweep, working.pop(random_.randrange(len(working))))
                else:
                    break
                assert sweep.expects or sweep.ended() is not None or not working
            assert not sweep.unfinished
            stories.append(story(sweep))
    assert all(each == stories[0] for each in stories)


def test_nothing_is_asked_for_too_early(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    first = [sweep.ask() for _ in range(SIZE)]
    assert sweep.ask() is None
    assert sweep.expects
    assert sweep.unfinished
    assert first[0] is not None
    end(sweep, first[0])
    assert sweep.ask() is None, "it may be the worst"
    assert sweep.expects


def test_states_are_spent_with_their_generation(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    spent: dict[int, list[int]] = {}
    while (record := sweep.ask()) is not None:
        end(sweep, record)
        spent[record.number] = sweep.spent(record.number)
        for other in sweep.trials():
            if other.state == "running":
                assert other.attributes.get("parent") not in spent
    failed = next(r.number for r in sweep.trials() if r.state == "failed")
    assert failed in spent[failed]
    assert [spent[n] for n in range(SIZE)] == [[]] * SIZE
    assert set(spent[2 * SIZE - 1]) == {*range(SIZE), failed}
    assert set().union(*spent.values()) == set(range(SIZE * GENERATIONS))


def test_a_generation_that_fails_as_a_whole_ends_the_sweep(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    while (record := sweep.ask()) is not None:
        sweep.fail(record.number, "no luck")
    assert len(sweep.trials()) == SIZE
    assert (sweep.unfinished, sweep.expects) == (False, False)
    ended = sweep.ended()
    assert ended is not None
    assert ended.line == "all trials of a generation have failed"


def test_a_trial_by_hand_stands_beside_the_population(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    first = sweep.ask()
    assert first is not None
    queued = sweep.queue({"train.lr": 1e-3}, {})
    asked = sweep.ask()
    assert asked is not None
    assert asked.number == queued.number
    assert sweep.epochs_of(asked.number) == GENERATIONS, "trained as long as a lineage"
    for epoch in range(1, GENERATIONS + 1):
        sweep.report(asked.number, epoch, {"reward": 0.99})
    sweep.complete(asked.number)
    end(sweep, first)
    play_all(sweep)
    assert sorted(r.attributes.get("member", -1) for r in sweep.trials()) == sorted([-1, *[0, 1, 2, 3] * GENERATIONS])


def test_killed_at_any_byte_a_population_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    def run(path: Path) -> list[dict[str, Any]]:
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger)
            play_all(sweep)
            return [{**vars(r), "started": None, "ended": None} for r in sweep.trials()]

    undisturbed = run(tmp_path / "ledger.log")
    content = (tmp_path / "ledger.log").read_bytes()
    lines = content.splitlines(keepends=True)
    ends = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    somewhere = random.Random(0).sample(range(len(content)), 60)
    path = tmp_path / "cut.log"
    for size in sorted({*ends, *somewhere}):
        path.write_bytes(content[:size])
        assert run(path) == undisturbed, f"cut at byte {size}"

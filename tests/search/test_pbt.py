"""Who goes on from whom, by hand; what a child is given; and that a population's ledger tells no two stories."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings import SettingError, TrialSettings
from sweepstack.search.ledger import MAIN, Ledger
from sweepstack.search.pbt import Birth, Cell, Population, check, drawn, may_change, perturbed, population_of
from sweepstack.search.search_settings import PBT, PBTStopper, Search
from sweepstack.search.space import Space
from sweepstack.search.sweep import Sweep
from sweepstack.search.trial_record import TrialRecord

SPEC: dict[str, Any] = {
    "train.lr": {"log": [3e-4, 3e-2]},
    "train.gamma": {"near_one": [0.9, 0.9999]},
    "train.batch_size": [64, 128, 256, 512],
    "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}],
    "train.warm_start.seed": [0, 1, 2, 3],
    "model.dropout": {"range": [0.0, 0.5]},
}
SPACE = Space.parse(SPEC, TrialSettings())
SIZE, GENERATIONS = 4, 3


def population(**settings: Any) -> Population:
    return Population(PBT(population=SIZE, **settings), GENERATIONS, seed=0)


def cells(*generations: str) -> dict[tuple[int, int], Cell]:
    """A word a generation, a letter a member: a digit is its value, r runs, f has failed, - has not begun."""
    found = {}
    for generation, letters in enumerate(generations):
        for member, letter in enumerate(letters):
            if letter != "-":
                value = float(letter) if letter.isdigit() else None
                found[member, generation] = Cell(10 * generation + member, letter == "r", value)
    return found


def test_all_members_begin_before_any_goes_on() -> None:
    assert population().next({}) == Birth(0, 0)
    assert population().next(cells("9r")) == Birth(2, 0)
    assert population().next(cells("95--")) == Birth(2, 0)


def test_the_worst_goes_on_from_the_best_and_all_others_from_themselves() -> None:
    """A quarter of four is one."""
    first = population().next(cells("5931"))
    assert first == Birth(0, 1, parent=0, epochs_before=1)
    assert population().next(cells("5931", "r--")) == Birth(1, 1, parent=1, epochs_before=1)
    assert population().next(cells("5931", "rrr")) == Birth(3, 1, parent=1, epochs_before=1, explores=True)
    assert population().next(cells("5931", "5555")) == Birth(0, 2, parent=10, epochs_before=2)
    assert population(interval=3).next(cells("5931", "5555")) == Birth(0, 2, parent=10, epochs_before=6)
    assert population().next(cells("5931", "5931", "5931")) is None


def test_half_of_a_population_may_go_on_from_the_other_half() -> None:
    parents = {population(quantile=0.5).parent_of(member, 1, cells("5931")) for member in (2, 3)}
    assert parents <= {0, 1}
    assert [population(quantile=0.5).parent_of(member, 1, cells("5931")) for member in (0, 1)] == [0, 1]


def test_a_member_waits_only_while_its_rank_is_open() -> None:
    assert population().next(cells("5rrr")) is None, "it may be the worst"
    assert population().next(cells("53rr")) == Birth(0, 1, parent=0, epochs_before=1), "it cannot be any more"
    assert population().parent_of(1, 1, cells("53rr")) is None
    assert population().parent_of(1, 1, cells("532r")) == 1
    assert population().parent_of(2, 1, cells("532r")) is None
    assert population().parent_of(2, 1, cells("5327")) == 3
    assert population().next(cells("53rr", "2---")) is None, "nor does it in its next generation"


def test_who_has_failed_goes_on_from_the_best() -> None:
    for letters, parents in (("5f31", [0, 0, 2, 3]), ("ff31", [2, 2, 2, 3]), ("fff1", [3, 3, 3, 3])):
        assert [population().parent_of(member, 1, cells(letters)) for member in range(SIZE)] == parents
    assert population().next(cells("ffff")) is None
    assert population().died_out(cells("ffff"))
    assert not population().died_out(cells("fffr"))
    assert not population().died_out(cells("fff1"))


def test_equals_have_an_order() -> None:
    assert [population().parent_of(member, 1, cells("5555")) for member in range(SIZE)] == [0, 1, 2, 0]


@given(st.lists(st.none() | st.integers(0, 9), min_size=6, max_size=6), st.randoms(), st.floats(0.01, 0.5))
def test_what_is_decided_does_not_depend_on_when_values_come(
    values: list[int | None], order: random.Random, quantile: float
) -> None:
    """Whatever is known before all have ended stays so."""
    rules = Population(PBT(population=6, quantile=quantile), 2, seed=3)
    whole = {(m, 0): Cell(m, False, None if v is None else float(v)) for m, v in enumerate(values)}
    expected = [rules.parent_of(member, 1, whole) for member in range(6)]
    assert (None in expected) == (set(values) == {None})
    edge = max(1, int(quantile * 6))
    assert sum(parent != member for member, parent in enumerate(expected)) == max(edge, values.count(None)) or (
        None in expected
    )
    known = {key: Cell(cell.number, True, None) for key, cell in whole.items()}
    ended = list(whole)
    order.shuffle(ended)
    for key in ended:
        known[key] = whole[key]
        for member, parent in enumerate(expected):
            assert rules.parent_of(member, 1, known) in (None, parent)
    assert [rules.parent_of(member, 1, known) for member in range(6)] == expected


def test_a_state_is_kept_until_the_whole_population_has_passed_it() -> None:
    assert population().needed(cells("59rf")) == {0, 1, 2}
    assert population().needed(cells("5931", "5rrr")) == {0, 1, 2, 3, 10, 11, 12, 13}
    assert population().needed(cells("5931", "593f")) == {10, 11, 12}
    assert population().needed(cells("5931", "5931", "r9--")) == {10, 11, 12, 13, 20}
    assert population().needed(cells("5931", "5931", "5931")) == set()


def test_what_may_change_in_the_middle_of_training() -> None:
    changes = ("train.lr", "train.gamma", "train.gae_lambda", "train.batch_size", "train.lr_schedule", "train.ppo.clip")
    assert all(map(may_change, (*changes, "train.step_every", "train.weight_decay", "train.ppo.kl")))
    lasting = ("model.d_model", "model.dropout", "train.warm_start.lr", "train.warm_start.seed", "reading.cost")
    assert not any(map(may_change, (*lasting, "train.epochs", "train.freeze", "train.optimizer", "train.algorithm")))


def explored(parameters: dict[str, Any], generation: int, resample: float = 0.0) -> dict[str, Any]:
    rules = population(resample=resample)
    return rules.explored(Birth(0, generation, 0, 1, True), parameters, SPACE)[0]


PARENT = {
    "train.lr": 1e-3,
    "1-train.gamma": 0.01,
    "train.batch_size": 128,
    "train.lr_schedule": "step",
    "train.step_every": 2,
    "train.warm_start.seed": 3,
    "model.dropout": 0.2,
}


def test_a_child_is_a_little_different_from_its_parent() -> None:
    children = [explored(PARENT, generation) for generation in range(80)]
    assert {child["train.lr"] for child in children} == {0.8e-3, 1.2e-3}
    assert {child["1-train.gamma"] for child in children} == {0.008, 0.012}, "1 − γ, as it is searched"
    assert {child["train.batch_size"] for child in children} == {64, 256}
    assert {child["train.step_every"] for child in children} == {1, 3}
    for child in children:
        assert child | {name: PARENT[name] for name in [*list(PARENT)[:3], "train.step_every"]} == PARENT
    assert len({tuple(child.values()) for child in children}) == 2**4, "each on its own"
    assert explored(PARENT, 5) == explored(PARENT, 5)


def test_what_is_drawn_anew_is_anywhere_and_what_hangs_on_a_choice_goes_with_it() -> None:
    children = [explored(PARENT, generation, resample=1.0) for generation in range(60)]
    assert {child["train.batch_size"] for child in children} == {64, 128, 256, 512}
    assert min(child["train.lr"] for child in children) < 6e-4
    assert max(child["train.lr"] for child in children) > 1.5e-2
    assert {child["train.lr_schedule"] for child in children} == {"constant", "step"}
    for child in children:
        assert ("train.step_every" in child) == (child["train.lr_schedule"] == "step")
        assert (child["train.warm_start.seed"], child["model.dropout"]) == (3, 0.2)
    without = {name: value for name, value in PARENT.items() if name != "train.step_every"}
    moved = [explored({**without, "train.lr_schedule": "constant"}, n, resample=1.0) for n in range(20)]
    assert {child.get("train.step_every") for child in moved} == {None, 1, 2, 3, 4}


@given(st.integers(1, 30), st.integers(0, 30), st.booleans(), st.data())
def test_nothing_leaves_its_bounds(low: int, length: int, log: bool, data: st.DataObject) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    whole = IntDistribution(low, low + length, log=log)
    real = FloatDistribution(low / 7, (low + length) / 7, log=log)
    number = data.draw(st.integers(low, low + length))
    for value in (drawn(whole, draw), perturbed(number, whole, draw)):
        assert isinstance(value, int)
        assert low <= value <= low + length
    assert length < 2 or perturbed(low + 1, whole, draw) != low + 1
    for value in (drawn(real, draw), perturbed(number / 7, real, draw)):
        assert low / 7 <= value <= (low + length) / 7


def test_words_stay_and_numbers_of_a_choice_go_to_a_neighbour_whatever_their_order() -> None:
    numbers = CategoricalDistribution([256, 64, 128])
    assert {perturbed(128, numbers, random.Random(n)) for n in range(9)} == {64, 256}
    assert {perturbed(64, numbers, random.Random(n)) for n in range(9)} == {64, 128}
    for choices in (["a", "b"], [True, False], [64, "adaptive"]):
        assert {perturbed(choices[0], CategoricalDistribution(choices), random.Random(n)) for n in range(9)} == {
            choices[0]
        }


@pytest.mark.parametrize(
    ("changes", "epochs", "spec", "line"),
    [
        ({"trials": 13}, 3, SPEC, r"must be 12 under pbt \(4 members, 3 generations to come to train.epochs, 3\), but"),
        ({}, 4, SPEC, r"must be 16 under pbt \(4 members, 4 generations"),
        ({"sampler": "grid"}, 3, SPEC, "grid visits every point once"),
        ({"stopper": PBTStopper(pbt=PBT(interval=2))}, 3, SPEC, "must divide train.epochs, 3, but got 2"),
        ({}, 3, {"train.epochs": [1, 2], "train.lr": [1e-3, 1e-2]}, "cannot be searched under pbt"),
        (
            {},
            3,
            {"model.dropout": [0.1, 0.2], "train.warm_start.seed": [0, 1]},
            "needs a setting of train that pbt may",
        ),
    ],
)
def test_a_population_that_cannot_be_is_one_line(
    changes: dict[str, Any], epochs: int, spec: dict[str, Any], line: str
) -> None:
    good = {"stopper": PBTStopper(), "trials": 12, "sampler": "random"}
    check(Search(**good), 3, SPACE)
    with pytest.raises(SettingError, match=line) as error:
        check(Search(**{**good, **changes}), epochs, Space.parse(spec, TrialSettings()))
    assert "\n" not in str(error.value)
    check(Search(stopper="none", trials=1), epochs, Space.parse(spec, TrialSettings()))


SEARCH = Search(sampler="random", stopper=PBTStopper(), trials=SIZE * GENERATIONS)


def sweep_of(ledger: Ledger, search: Search = SEARCH) -> Sweep:
    return ledger.sweep(MAIN, space=SPACE, search=search, epochs=GENERATIONS)


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
    def run(path: Path, play: Callable[[Sweep], None] = play_all) -> list[dict[str, Any]]:
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger)
            play(sweep)
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

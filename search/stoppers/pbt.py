"""Population-based training (Jaderberg et al. 2017, arXiv 1711.09846), with every decision taken from the ledger.

A population of members trains in generations of ``interval`` epochs; each member's part of a generation is a trial of
its own, which begins in the state that another trial has left. The members at the bottom of a generation go on from
one at its top, with settings that are changed a little; all others go on from themselves, as they are. What is decided
depends on the values of the generation alone, not on when they came, so that it is the same after any kill and on any
number of workers. Nobody waits without need: a member goes on as soon as enough worse ones are known.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.seeds import derive_seed
from sweepstack.search.ledger.records import BY_HAND
from sweepstack.search.study.axes import NEAR_ONE
from sweepstack.search.study.population_checks import may_change
from sweepstack.search.study.search_section import PBT, PBTStopper, Search

if TYPE_CHECKING:
    from sweepstack.search.study.space import Space

FACTORS = (0.8, 1.2)  # of a perturbation, as in the paper


@dataclass(frozen=True)
class Cell:
    """A member in a generation: the trial ``number``, which has ended unless ``running``.

    ``value``: its latest, more is better; None where it has not come to the generation's end.
    """

    number: int
    running: bool
    value: float | None


@dataclass(frozen=True)
class Birth:
    """A trial to come. ``parent``: the number of the trial that it goes on from; none in the first generation."""

    member: int
    generation: int
    parent: int | None = None
    epochs_before: int = 0  # what its lineage has trained before it begins
    explores: bool = False  # whether the parent is another member's, and settings change

    @property
    def attributes(self) -> dict[str, int]:
        """What the ledger keeps with it."""
        known = {"member": self.member, "generation": self.generation}
        return known if self.parent is None else known | {"parent": self.parent, "epochs_before": self.epochs_before}


Cells = Mapping[tuple[int, int], Cell]
"""By member and generation, both from 0."""


def cells_of(trials: Iterable[FrozenTrial], direction: int) -> dict[tuple[int, int], Cell]:
    """The ``trials`` that belong to a population; ``direction`` of the objective: +1 where more is better."""
    cells = {}
    for trial in trials:
        known, values = trial.user_attrs, trial.intermediate_values
        if "generation" in known and BY_HAND not in known:
            value = direction * values[max(values)] if trial.state == TrialState.COMPLETE else None
            cell = Cell(trial.number, not trial.state.is_finished(), value)
            cells[known["member"], known["generation"]] = cell
    return cells


@dataclass(frozen=True)
class Population:
    """The rules of one sweep; all that it knows of its trials it is told."""

    settings: PBT
    generations: int
    seed: int

    def next(self, cells: Cells) -> Birth | None:
        """The next trial, of the earliest generation that one can be decided of; None where none can be now.

        Then one can later if and only if any cell is running: nothing else is waited for.
        """
        for generation in range(self.generations):
            for member in range(self.settings.population):
                if (member, generation) in cells:
                    continue
                if generation == 0:
                    return Birth(member, 0)
                parent = self.parent_of(member, generation, cells)
                if parent is not None:
                    before = generation * self.settings.interval
                    return Birth(member, generation, cells[parent, generation - 1].number, before, parent != member)
        return None

    def parent_of(self, member: int, generation: int, cells: Cells) -> int | None:
        """The member whose last trial ``member`` goes on from; None as long as that is not known.

        Trials that failed rank below all others. A member above ``quantile`` of the population goes on from itself; the
        rest, at least one, from a random one of as many at the top. None, too, where a whole generation has failed.
        """
        size = self.settings.population
        last = {each: cell for each in range(size) if (cell := cells.get((each, generation - 1))) is not None}
        own = last.get(member)
        if own is None or own.running:
            return None
        ended = {each: cell for each, cell in last.items() if not cell.running}
        order = sorted(ended, key=lambda each: _rank(ended[each], each))
        edge = max(1, int(self.settings.quantile * size))
        if own.value is not None and len(order) - 1 - order.index(member) >= edge:
            return member
        if len(ended) < size:
            return None
        top = [each for each in order if ended[each].value is not None][:edge]
        draw = random.Random(derive_seed(self.seed, "exploit", member, generation))
        return draw.choice(top) if top else None

    def died_out(self, cells: Cells) -> bool:
        """Whether all trials of a generation have failed, so that nobody can go on."""
        values = [[cell.value for (_, g), cell in cells.items() if g == each] for each in range(self.generations)]
        running = any(cell.running for cell in cells.values())
        return not running and any(len(known) == self.settings.population and set(known) == {None} for known in values)

    def needed(self, cells: Cells) -> set[int]:
        """The trials whose state may still be gone on from: those of a generation until all of the next one have ended,
        and whatever runs."""
        numbers = set()
        for (_, generation), cell in cells.items():
            later = [cells.get((each, generation + 1)) for each in range(self.settings.population)]
            wanted = cell.value is not None and generation + 1 < self.generations
            if cell.running or (wanted and any(each is None or each.running for each in later)):
                numbers.add(cell.number)
        return numbers

    def explored(
        self, birth: Birth, parameters: Mapping[str, Any], space: "Space"
    ) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """The parameters of a child whose parent has ``parameters``, and their distributions.

        What may change is drawn anew in ``resample`` of the cases. Else a number is multiplied by one of FACTORS, in
        the scale of its axis (so 1 − γ where that is searched) and within its bounds; a number out of a choice moves to
        one of its neighbours, and a word stays. Settings that hang on a choice that was changed are drawn.
        """
        seed = derive_seed(self.seed, "explore", birth.member, birth.generation)
        child = _Child(parameters, self.settings.resample, seed)
        space.suggest(child)  # type: ignore[arg-type]  # asks for parameters, as of any trial
        return child.parameters, child.distributions


def _rank(cell: Cell, member: int) -> tuple[float, int]:
    return (math.inf if cell.value is None else -cell.value, member)


class _Child:
    """Answers as an Optuna trial that is asked for its parameters."""

    def __init__(self, inherited: Mapping[str, Any], resample: float, seed: int) -> None:
        self._inherited, self._resample, self._seed = inherited, resample, seed
        self.parameters: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> Any:
        return self._give(name, FloatDistribution(low, high, log=log))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> Any:
        return self._give(name, IntDistribution(low, high, log=log))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._give(name, CategoricalDistribution(choices))

    def _give(self, name: str, distribution: BaseDistribution) -> Any:
        draw = random.Random(derive_seed(self._seed, name))
        if name not in self._inherited:
            value = drawn(distribution, draw)
        elif not may_change(name.removeprefix(NEAR_ONE)):
            value = self._inherited[name]
        elif draw.random() < self._resample:
            value = drawn(distribution, draw)
        else:
            value = perturbed(self._inherited[name], distribution, draw)
        self.parameters[name], self.distributions[name] = value, distribution
        return value


def drawn(distribution: BaseDistribution, draw: random.Random) -> Any:
    """Uniformly, in the scale of the distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return draw.choice(choices)
        case IntDistribution(low=low, high=high, log=False):
            return draw.randint(low, high)
        case IntDistribution(low=low, high=high):
            whole = round(math.exp(draw.uniform(math.log(low - 0.5), math.log(high + 0.5))))
            return min(max(whole, low), high)
        case FloatDistribution(low=low, high=high, log=log):
            value = math.exp(draw.uniform(math.log(low), math.log(high))) if log else draw.uniform(low, high)
            return min(max(value, low), high)
    raise ValueError(f"there is nothing to draw from {distribution}")


def perturbed(value: Any, distribution: BaseDistribution, draw: random.Random) -> Any:
    """A value near ``value``; a whole number moves by one at least, as far as the bounds allow."""
    factor = draw.choice(FACTORS)
    match distribution:
        case CategoricalDistribution(choices=choices):
            if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices):
                return value
            order = sorted(choices)  # type: ignore[type-var]
            place = order.index(value) + (1 if factor > 1 else -1)
            return order[min(max(place, 0), len(order) - 1)]
        case IntDistribution(low=low, high=high):
            moved = max(round(value * factor), value + 1) if factor > 1 else min(round(value * factor), value - 1)
            return min(max(moved, low), high)
        case FloatDistribution(low=low, high=high):
            return min(max(value * factor, low), high)
    raise ValueError(f"there is nothing near {value} in {distribution}")


def population_of(search: Search, epochs: int) -> Population | None:
    """The population of a search whose lineages train ``epochs`` epochs; None where it has none."""
    if not isinstance(search.stopper, PBTStopper):
        return None
    return Population(search.stopper.pbt, epochs // search.stopper.pbt.interval, search.seed)

"""Which row is exported: the best ensemble only where it is likely to beat the best single member and the baseline.

What it needs of a row is what it scores on blend, resample by resample, and whether it fits the budget; so the same
rule holds for ensembles that classify and for those that write.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sweepstack.ensembles.budget import Budget
from sweepstack.ensembles.comparison import Sample, chance_better
from sweepstack.ensembles.optimism import Optimism, optimism
from sweepstack.models.metric_directions import direction
from sweepstack.models.number_format import metric as shown

if TYPE_CHECKING:
    from sweepstack.ensembles.choose import Row

LIKELY = 0.8  # the least chance of being better that an ensemble needs


def singles(
    places: Sequence[int],
    best: Callable[[Sequence[int]], int],
    excess: Callable[[int], dict[str, float]],
    *,
    bound: bool,
) -> tuple[list[tuple[int, tuple[int, ...]]], float | None]:
    """Which members of one kind stand in the table, each with those that it is the best of.

    It is the best one; where that is over the budget and ``bound`` (it could be exported), also the best of those that
    fit. Where none fits it is the cheapest (the best of none, so to say), and the largest multiple of a bound by which
    it does not is returned, too. ``excess``: see Budget, of a member alone.
    """
    shown: list[tuple[int, tuple[int, ...]]] = []
    among = tuple(places)
    while among:
        shown.append((best(among), among))
        if not bound or not excess(shown[-1][0]):
            break
        over = {place: excess(place) for place in among}
        fitting = tuple(place for place in among if not over[place])
        if not fitting:
            cheapest = min(among, key=lambda place: max(over[place].values()))
            if cheapest != shown[-1][0]:
                shown.append((cheapest, ()))
            return shown, max(over[cheapest].values())
        among = fitting
    return shown, None


def verdict(
    rows: "Sequence[Row]",
    samples: Mapping[str, Sample],
    metric: str,
    cheapest: Sequence[tuple[float, str]],
    budget: Budget,
    seed: int,
) -> tuple[str, str, Optimism]:
    """The row to export, why in one sentence, and how far the choice flatters the best.

    ``rows``: ensembles first, best first. ``samples``: what they have on blend, by name. ``cheapest``: single members
    that are over the budget, as no other of their kind is less so, each behind its excess.
    """
    over = {row.name for row in rows if row.over_budget}
    ensembles = [row.name for row in rows if row.role == "ensemble" and row.name not in over]
    rivals = [row.name for row in rows if row.role in ("trial", "baseline") and row.name not in over]
    if over and not ensembles and not rivals and cheapest:
        chosen = min(cheapest, key=lambda each: each[0])[1]
        reason = (
            f"{chosen} is exported, the cheapest single member: nothing fits ensembles.budget ({budget.words}), it "
            f"has {next(row.over_budget for row in rows if row.name == chosen)}."
        )
    else:
        chosen, reason = decide(ensembles, rivals, samples, metric, seed)
    flattery = optimism([samples[name] for name in dict.fromkeys([*ensembles, *rivals])], seed)
    if flattery.candidates > 1:
        reason = f"{reason.removesuffix('.')}; {flattery.words(metric)}."
    return chosen, reason, flattery


def decide(
    ensembles: Sequence[str], rivals: Sequence[str], samples: Mapping[str, Sample], metric: str, seed: int
) -> tuple[str, str]:
    """The row to export and why; ``ensembles`` best first, ``samples`` of blend."""
    if not ensembles and not rivals:
        raise ValueError("choose needs a trial, a baseline or an ensemble, but got none")
    if not rivals:
        return ensembles[0], f"{ensembles[0]} is exported: there is no single trial or baseline to compare it with."
    rival = max(rivals, key=lambda name: samples[name].score)
    value = {name: shown(metric, direction(metric) * each.score) for name, each in samples.items()}
    if not ensembles:
        return rival, f"{rival} is exported: nothing was combined, and it has the best blend {metric}, {value[rival]}."
    best = ensembles[0]
    chance = chance_better(samples[best], samples[rival], seed)
    means = f"blend {metric} {value[best]} against {value[rival]}"
    if chance >= LIKELY:
        return best, f"{best} is exported: it beats {rival} with a chance of {chance:.0%} ({means})."
    return rival, (
        f"{rival} is exported: the best ensemble, {best}, beats it with a chance of only {chance:.0%}, "
        f"{LIKELY:.0%} is needed ({means})."
    )

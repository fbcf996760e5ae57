"""Which row is exported: the best ensemble only where it is likely to be better than every single member.

Single members of the table (the best trial, baselines, controls) can be exported themselves, so all are rivals, whether
ensembles may use them or not; of those with the same score on blend, as it is shown, the smallest is. A row needs no
more than its scores on blend, resample by resample, its size and whether it fits the budget; so the same rule holds for
ensembles that classify and for those that write.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sweepstack.ensembles.evaluation.budget import Budget
from sweepstack.ensembles.members.library import Kind, Member
from sweepstack.ensembles.scoring.bootstrap import Sample
from sweepstack.ensembles.scoring.chance import chance_of_best, paired_resamples, units
from sweepstack.ensembles.scoring.optimism import Optimism, optimism
from sweepstack.models.predictions.metrics import direction
from sweepstack.models.predictions.number_format import metric as shown

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.table import Role, Row

LIKELY = 0.8  # the least probability of being better that an ensemble needs
NO_SIZES: Mapping[str, float] = {}


def company(
    members: Sequence[Member], methods: Mapping[Kind, str], controls: Mapping[str, str]
) -> list[tuple["Role", str, tuple[int, ...]]]:
    """The single members by what they are in the table: role, method and places. The best of each has a row.

    ``methods``: of the best trial, of the baseline and of the control; each pipeline is a baseline under its own name.
    ``controls``: the method, by name, of trials that are controls.
    """
    places = {
        kind: tuple(i for i, member in enumerate(members) if member.kind == kind) for kind in (*methods, "pipeline")
    }
    found: list[tuple[Role, str, tuple[int, ...]]] = [
        ("trial", methods["trial"], places["trial"]),
        ("baseline", methods["baseline"], places["baseline"]),
        *(("baseline", members[place].name, (place,)) for place in places["pipeline"]),
        ("control", methods["control"], places["control"]),
    ]
    for method in dict.fromkeys(controls.values()):
        found.append(("control", method, tuple(i for i, m in enumerate(members) if controls.get(m.name) == method)))
    return found


def singles(
    places: Sequence[int],
    best: Callable[[Sequence[int]], int],
    excess: Callable[[int], dict[str, float]],
    *,
    bounded: bool,
) -> tuple[list[tuple[int, tuple[int, ...]]], float | None]:
    """Which members of one kind stand in the table, each with those that it is the best of.

    It is the best one; where that is over the budget, also the best of those that fit. Where none fits it is the
    cheapest (the best of none, so to say), and the largest multiple of a bound by which it does not is returned, too.
    ``excess``: see Budget, of a member alone; it is asked only where there is a budget (``bounded``).
    """
    shown: list[tuple[int, tuple[int, ...]]] = []
    among = tuple(places)
    while among:
        shown.append((best(among), among))
        if not bounded or not excess(shown[-1][0]):
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
    rivals = [row.name for row in rows if row.role != "ensemble" and row.name not in over]
    if over and not ensembles and not rivals and cheapest:
        chosen = min(cheapest, key=lambda each: each[0])[1]
        reason = (
            f"{chosen} is exported, the cheapest single member: nothing fits ensembles.budget ({budget.words}), it "
            f"has {next(row.over_budget for row in rows if row.name == chosen)}."
        )
    else:
        sizes = {row.name: row.size_mb for row in rows if row.size_mb is not None}
        chosen, reason = decide(ensembles, rivals, samples, metric, seed, sizes)
    flattery = optimism([samples[name] for name in dict.fromkeys([*ensembles, *rivals])], seed)
    if flattery.told(metric):
        reason = f"{reason.removesuffix('.')}; {flattery.words(metric)}."
    return chosen, reason, flattery


def decide(
    ensembles: Sequence[str],
    rivals: Sequence[str],
    samples: Mapping[str, Sample],
    metric: str,
    seed: int,
    sizes: Mapping[str, float] = NO_SIZES,
) -> tuple[str, str]:
    """The row to export and why; ``ensembles`` best first, ``samples`` of blend, ``sizes`` of single members in
    megabytes: of those whose scores are shown alike the smallest is exported."""
    if not ensembles and not rivals:
        raise ValueError("choose needs a single member or an ensemble, but got none")
    if not rivals:
        return ensembles[0], f"{ensembles[0]} is exported: there is no single member to compare it with."
    value = {name: shown(metric, direction(metric) * each.score) for name, each in samples.items()}
    leader = max(rivals, key=lambda name: samples[name].score)
    tied = [name for name in rivals if value[name] == value[leader] and name in sizes]
    rival = min(tied, key=lambda name: sizes[name]) if leader in sizes else leader
    if not ensembles:
        return rival, f"{rival} is exported: nothing was combined, and it has the best blend {metric}, {value[rival]}."
    best, names = ensembles[0], [*ensembles, *rivals]
    compared = [samples[name] for name in names]
    chance = chance_of_best(
        np.array([each.score for each in compared]),
        paired_resamples(compared, seed),
        units(compared[0]),
        0,
        range(len(ensembles), len(names)),
    )
    counted = f"the choice among {len(names)} counted"
    means = f"blend {metric} {value[best]} against {value[rival]} of {rival}"
    if chance >= LIKELY:
        return best, (
            f"{best} is exported: with a probability of {percent(chance)} it is better than every single member, "
            f"{counted} ({means})."
        )
    return rival, (
        f"{rival} is exported: the best ensemble, {best}, is better than every single member with a probability of "
        f"{percent(chance)}, {counted}; {LIKELY:.0%} is needed ({means})."
    )


def percent(chance: float) -> str:
    """``83%``, rounded down, as it is compared with what is needed; nothing is certain by a sample."""
    whole = int(100 * chance + 1e-9)
    return "less than 1%" if whole == 0 else "over 99%" if whole >= 99 else f"{whole}%"

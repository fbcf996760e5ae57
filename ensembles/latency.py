"""What an ensemble costs: megabytes on disk, and milliseconds for one text that comes alone."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from sweepstack.ensembles.choose import Choice, Row
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.ensemble import Ensemble, TextMember
from sweepstack.ensembles.store import Member

TEXTS = 20
WARM_UP = 3  # calls before the clock counts: kernels are chosen and caches filled on the first ones


def size_mb(folders: Sequence[Path]) -> float:
    """Megabytes (10⁶ bytes) of all files below the folders."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / 1e6


def latency_ms(read: Callable[[list[str]], object], texts: Sequence[str]) -> float:
    """Median milliseconds of ``read`` on one text at a time; ``texts`` holds at least one."""
    for text in texts[:WARM_UP]:
        read([text])
    times = []
    for text in texts[:TEXTS]:
        begin = time.perf_counter()
        read([text])
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def measured(
    choice: Choice, members: Sequence[Member], texts: Sequence[str], load: Callable[[Path], TextMember]
) -> tuple[Row, ...]:
    """The rows of ``choice`` with size_mb and latency_ms; ``members`` in the library's order, each loaded once."""
    with threadpool_limits(limits=1):  # a text alone is too little work for two threads
        return tuple(_measured(choice, members, texts, load))


def _measured(
    choice: Choice, members: Sequence[Member], texts: Sequence[str], load: Callable[[Path], TextMember]
) -> Iterator[Row]:
    loaded: dict[int, TextMember] = {}
    for row in choice.rows:
        combination = choice.combinations[row.name]
        for place in combination.members:
            if place not in loaded:
                loaded[place] = load(members[place].checkpoint)
        yield replace(
            row,
            size_mb=size_mb([members[place].checkpoint for place in combination.members]),
            latency_ms=_of(combination, loaded, texts),
        )


def _of(combination: Combination, loaded: Mapping[int, TextMember], texts: Sequence[str]) -> float:
    ensemble = Ensemble(tuple(loaded[place] for place in combination.members), combination)
    return latency_ms(lambda batch: list(ensemble.read(batch)), texts)

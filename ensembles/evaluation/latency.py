"""What an ensemble costs: megabytes on disk, and milliseconds for a text that comes alone or among others.

A cascade runs a different number of members for each text, so its mean over texts counts; of each text the quickest
of a few readings: what else the machine does can only make one slower.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from sweepstack.ensembles.combinations.combination import Combination, TextMember
from sweepstack.ensembles.combinations.ensemble import Ensemble
from sweepstack.ensembles.evaluation.budget import Serving
from sweepstack.ensembles.members.library import Member
from sweepstack.models import checksums

if TYPE_CHECKING:
    from sweepstack.ensembles.combinations.text_combination import TextCombination, WritingMember

BATCH = 32  # texts that come together
REPEATS = 3  # readings of each text, and of a batch
WARM_UP = 3  # calls before the clock counts: kernels are chosen and caches filled on the first ones
Read = Callable[[list[str]], object]


def size_mb(folders: Sequence[Path]) -> float:
    """Megabytes (10⁶ bytes) of all files below the folders."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != checksums.NAME)
    return sum(path.stat().st_size for path in files) / 1e6


def latency_ms(read: Read, texts: Sequence[str]) -> float:
    """Milliseconds of ``read`` on one text at a time, mean over ``texts``, of which there is at least one."""
    for text in texts[:WARM_UP]:
        read([text])
    return statistics.fmean(_quickest_ms(read, [text]) for text in texts)


def batch_latency_ms(read: Read, texts: Sequence[str], size: int = BATCH) -> float:
    """Milliseconds of ``read`` for one of ``size`` texts at a time; where there are fewer, they come repeatedly."""
    batch = [texts[i % len(texts)] for i in range(size)]
    read(batch)
    return _quickest_ms(read, batch) / size


def _quickest_ms(read: Read, batch: list[str]) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        read(batch)
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


class Meter:
    """Measures combinations of ``members``, the library in its order; each is loaded once."""

    def __init__(self, members: Sequence[Member], texts: Sequence[str], load: Callable[[Path], TextMember]) -> None:
        self._members, self._texts, self._load = members, texts, load
        self._loaded: dict[int, TextMember] = {}

    def with_member(self, member: Member) -> "Meter":
        """The same of one member more, the last."""
        meter = Meter((*self._members, member), self._texts, self._load)
        meter._loaded = self._loaded
        return meter

    def __call__(self, combination: Combination) -> Serving:
        for place in combination.members:
            if place not in self._loaded:
                self._loaded[place] = self._load(self._members[place].checkpoint)
        ensemble = Ensemble(tuple(self._loaded[place] for place in combination.members), combination)
        folders = [self._members[place].checkpoint for place in combination.members]
        return served(folders, lambda batch: list(ensemble.read(batch)), self._texts)


class TextMeter:
    """The same of combinations that write. Searches for texts take long enough for few ``texts`` to tell."""

    def __init__(
        self, members: Sequence[Member], texts: Sequence[str], load: "Callable[[Path], WritingMember]"
    ) -> None:
        self._members, self._texts, self._load = members, texts, load
        self._loaded: dict[int, WritingMember] = {}

    def __call__(self, combination: "TextCombination") -> Serving:
        for place in combination.members:
            if place not in self._loaded:
                self._loaded[place] = self._load(self._members[place].checkpoint)
        loaded = [self._loaded[place] for place in combination.members]
        folders = [self._members[place].checkpoint for place in combination.members]
        return served(folders, lambda batch: combination.write(loaded, batch), self._texts)


def served(folders: Sequence[Path], read: Read, texts: Sequence[str]) -> Serving:
    """What members in ``folders`` take to ``read`` together."""
    with threadpool_limits(limits=1):  # a text alone is too little work for two threads
        return Serving(size_mb(folders), latency_ms(read, texts), batch_latency_ms(read, texts))

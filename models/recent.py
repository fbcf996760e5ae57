"""A memory of what was worked out, bounded by its size: what was used least recently goes first.

``functools.lru_cache`` counts entries. Where an entry is as large as its text is long (the n-grams of a text take
300 times its bytes), a number of entries says nothing of the memory that they take.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Call it with a key. ``make`` works a value out; ``size`` says how large one is; ``limit`` bounds their sum."""

    def __init__(self, make: Callable[[K], V], size: Callable[[V], int], limit: int) -> None:
        self._make, self._size, self.limit = make, size, limit
        self._kept: OrderedDict[K, V] = OrderedDict()
        self.total = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, key: K) -> V:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = self._make(key)
        size = self._size(value)
        if size <= self.limit:
            self._kept[key] = value
            self.total += size
        while self.total > self.limit:
            self.total -= self._size(self._kept.popitem(last=False)[1])
        return value

"""The recursion of gae.py compiled by Numba for one CPU thread, where memory is what limits it.

What it took, each worth a factor: LLVM is told that no two arguments overlap (it gives up vectorising after eight
run-time checks); what a mask may skip is loaded all the same, so that the choice is a select and not a branch; the
innermost loop runs along memory; several steps, or rows, are in flight at once. Nothing is reassociated or fused, so
results equal those of the recursion in torch bit by bit.

Importing this module imports Numba (.4 s); a first call compiles (about a second) or finds what an earlier process
left in Numba's cache, where there is a folder that it may write.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[Any]
Bools = NDArray[np.bool_]
Kernel = Callable[..., None]

STEPS = 4  # at a time by columns: the running values stay in registers between them
ROWS = 16  # at a time by rows: as many recursions hide each other's latency
PIECE = 8192  # decisions that stay in the cache while every pair runs over them


class _NoAlias(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]  # type: ignore[no-untyped-call]


def compiled(function: Kernel) -> Kernel:
    """``function`` compiled when it is first called, and kept on disk where that is possible."""
    try:
        kernel = njit(function, nogil=True, pipeline_class=_NoAlias, cache=True)
    except RuntimeError:  # there is no folder that can be written
        kernel = njit(function, nogil=True, pipeline_class=_NoAlias)

    def call(*arguments: Any) -> None:
        try:
            kernel(*arguments)
        except OSError:  # it was compiled, but could not be kept: the disk is full, say
            kernel(*arguments)

    return call


def _by_columns(count: int) -> Kernel:
    """Over arrays (steps, episodes), ``count`` steps at a time, of which ``upper`` − ``lower`` must be a multiple."""

    def by_columns(
        rewards: Floats,
        values: Floats,
        mask: Bools,
        gammas: Floats,  # (pairs, episodes), or (pairs, steps, episodes)
        decays: Floats,  # γλ, as gammas
        ends: Bools | None,
        bootstrap: Floats | None,
        next_values: Floats,  # (pairs, episodes): first the rows' V_n; overwritten, as the next two
        next_advantages: Floats,
        begun: Bools,
        lower: int,
        upper: int,
        piece: int,  # steps, a multiple of count
        out: Floats,  # (pairs, steps, episodes)
    ) -> None:
        zero = out.dtype.type(0)
        for top in range(upper, lower, -piece):
            for p in range(out.shape[0]):
                next_v = next_values[p]
                next_a = next_advantages[p]
                begun_of = begun[p]
                for last in range(top, max(top - piece, lower), -count):
                    first = last - count
                    r = rewards[first:last]
                    v = values[first:last]
                    m = mask[first:last]
                    a = out[p, first:last]
                    if gammas.ndim == 3:
                        gammas_of = gammas[p, first:last]
                        decays_of = decays[p, first:last]
                    else:
                        gammas_of = gammas[p]
                        decays_of = decays[p]
                    if ends is not None:
                        ends_of = ends[first:last]
                    if bootstrap is not None:
                        bootstrap_of = bootstrap[first:last]
                    for e in range(out.shape[2]):
                        next_value = next_v[e]
                        next_advantage = next_a[e]
                        if ends is not None or bootstrap is not None:
                            inside = begun_of[e]
                        for k in range(count):
                            t = count - 1 - k
                            counts = m[t, e]
                            value = v[t, e]
                            v_after = next_value
                            a_after = next_advantage
                            if ends is not None:
                                end = ends_of[t, e]
                                a_after = zero if end else a_after
                                if bootstrap is None:
                                    v_after = zero if end & inside else v_after
                                else:
                                    cut_off = bootstrap_of[t, e]
                                    v_after = v_after if inside & (not end) else cut_off
                                inside = inside | counts
                            elif bootstrap is not None:
                                cut_off = bootstrap_of[t, e]
                                v_after = v_after if inside else cut_off
                                inside = inside | counts
                            if gammas.ndim == 3:
                                gamma = gammas_of[t, e]
                                decay = decays_of[t, e]
                            else:
                                gamma = gammas_of[e]
                                decay = decays_of[e]
                            advantage = r[t, e] + gamma * v_after - value + decay * a_after
                            a[t, e] = advantage if counts else zero
                            next_advantage = advantage if counts else next_advantage
                            next_value = value if counts else next_value
                        next_v[e] = next_value
                        next_a[e] = next_advantage
                        if ends is not None or bootstrap is not None:
                            begun_of[e] = inside

    return compiled(by_columns)


by_single_columns = _by_columns(1)
by_columns = _by_columns(STEPS)


@compiled
def by_rows(
    rewards: Floats,
    values: Floats,
    mask: Bools,
    gammas: Floats,  # (episodes,)
    decays: Floats,  # (episodes,)
    tail: Floats,  # (episodes,)
    sums: Floats,  # scratch (ROWS, more than steps), finite
    decay: Floats,  # scratch (ROWS,), finite
    gaps: Bools,  # scratch (ROWS,)
    out: Floats,
) -> None:
    """Over arrays (episodes, steps), ROWS episodes at a time: δ of each, then their recursions side by side.

    An episode with gaps is compacted before and spread out after.
    """
    episodes, steps = out.shape
    zero = out.dtype.type(0)
    for first in range(0, episodes, ROWS):
        count = min(ROWS, episodes - first)
        for j in range(count):
            e = first + j
            r = rewards[e]
            v = values[e]
            m = mask[e]
            s = sums[j]
            v_after = values[e, 1:]
            m_after = mask[e, 1:]
            gamma = gammas[e]
            decay[j] = decays[e]
            runs = 1 if m[0] else 0
            for t in range(steps - 1):
                runs += 1 if m_after[t] > m[t] else 0
            gaps[j] = runs > 1
            s[steps - 1] = s[steps] = zero
            if runs > 1:
                place = steps
                next_value = tail[e]
                for t in range(steps - 1, -1, -1):
                    value = v[t]
                    s[place - 1] = r[t] + gamma * next_value - value  # overwritten where t does not count
                    next_value = value if m[t] else next_value
                    place = place - 1 if m[t] else place
                s[:place] = s[steps:] = zero
            else:
                for t in range(steps - 1):
                    delta = r[t] + gamma * v_after[t] - v[t]
                    s[t] = delta if m[t] else zero
                end = steps - 1
                while end >= 0 and not m[end]:
                    end -= 1
                if end >= 0:
                    s[end] = r[end] + gamma * tail[e] - v[end]
        for t in range(steps - 1, -1, -1):
            for j in range(ROWS):
                sums[j, t] += decay[j] * sums[j, t + 1]
        for j in range(count):
            m = mask[first + j]
            a = out[first + j]
            s = sums[j]
            if gaps[j]:
                place = steps
                for t in range(steps - 1, -1, -1):
                    advantage = s[place - 1]
                    a[t] = advantage if m[t] else zero
                    place = place - 1 if m[t] else place
            else:
                for t in range(steps):
                    advantage = s[t]
                    a[t] = advantage if m[t] else zero


def advantages(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gammas: float | Tensor,
    decays: float | Tensor,
    tail: Tensor | None,
    ends: Tensor | None,
    bootstrap: Tensor | None,
) -> Tensor:
    """As `gae.recursion`, for tensors on the CPU of one float type. Which loop runs is chosen by the strides."""
    episodes, steps = values.shape
    dtype = values.numpy().dtype
    if isinstance(gammas, Tensor) and isinstance(decays, Tensor):
        pairs, per_step = len(gammas), gammas.shape[2] > 1 or decays.shape[2] > 1
        shape = (pairs, steps, episodes) if per_step else (pairs, 1, episodes)
        each = (np.broadcast_to(x.numpy().transpose(0, 2, 1), shape) for x in (gammas, decays))
        discounts = [np.ascontiguousarray(x if per_step else x[:, 0]) for x in each]
    else:
        pairs, per_step = 1, False
        discounts = [_filled((1, episodes), x, dtype) for x in (gammas, decays)]
    last_values = 0 if tail is None else tail.numpy()
    plain = pairs == 1 and ends is None and bootstrap is None and not per_step
    if plain and values.is_contiguous() and min(episodes, steps) > 1:
        table = [np.ascontiguousarray(x.numpy()) for x in (rewards, values, mask)]
        sums = np.zeros((ROWS, steps + ROWS + 1), dtype)  # whose width keeps rows off one another's cache sets
        scratch = sums, np.zeros(ROWS, dtype), np.zeros(ROWS, np.bool_)
        out = np.empty((episodes, steps), dtype)
        by_rows(*table, *(x[0] for x in discounts), _filled((episodes,), last_values, dtype), *scratch, out)
        return torch.from_numpy(out)[None]
    table = [_by_time(x) for x in (rewards, values, mask)]
    cuts = [None if x is None else _by_time(x) for x in (ends, bootstrap)]
    running = (
        _filled((pairs, episodes), last_values, dtype),
        np.zeros((pairs, episodes), dtype),
        np.zeros((pairs, episodes), np.bool_),
    )
    whole = steps - steps % STEPS
    piece = whole if pairs == 1 else max(PIECE // episodes // STEPS, 1) * STEPS
    out = np.empty((pairs, steps, episodes), dtype)
    if whole < steps:
        by_single_columns(*table, *discounts, *cuts, *running, whole, steps, STEPS, out)
    if whole:
        by_columns(*table, *discounts, *cuts, *running, 0, whole, piece, out)
    return torch.from_numpy(out.transpose(0, 2, 1))


def _by_time(table: Tensor) -> NDArray[Any]:
    array = table.numpy().T
    return array if array.flags.c_contiguous else table.t().contiguous().numpy()  # torch transposes faster


def _filled(shape: tuple[int, ...], numbers: Any, dtype: np.dtype[Any]) -> Floats:
    table = np.empty(shape, dtype)
    table[:] = numbers
    return table

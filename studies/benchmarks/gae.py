"""What GAE costs against the memory bound: a torch.add that reads two tables of that size and writes a third.

One thread, float32, episodes padded to the right, the mask included; each row is timed in turns with the bound, and
both medians are from these turns. Ours by columns is time-major storage, by rows contiguous (episodes, steps). Pairs
have a bound of their own, adds that move as many bytes. The NumPy loop is that of Stable-Baselines3, the torch loop
that of CleanRL; they know no masks. About a minute.

    python studies/benchmarks/gae.py
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

from sweepstack.models.rl.gae import gae, gae_pairs

GAMMA, GAE_LAMBDA, PAIRS = 0.99, 0.95, 16
SIZES = ((512, 256), (2048, 1024))  # steps, episodes
SECONDS = 2.0  # spent on a row


def numpy_loop(rewards: np.ndarray, values: np.ndarray, starts: np.ndarray, last_values: np.ndarray) -> np.ndarray:
    advantages = np.zeros_like(rewards)
    last = 0
    for step in reversed(range(len(rewards))):
        if step == len(rewards) - 1:
            going_on, next_values = 1.0 - starts[step], last_values
        else:
            going_on, next_values = 1.0 - starts[step + 1], values[step + 1]
        delta = rewards[step] + GAMMA * next_values * going_on - values[step]
        last = delta + GAMMA * GAE_LAMBDA * going_on * last
        advantages[step] = last
    return advantages


def torch_loop(rewards: Tensor, values: Tensor, dones: Tensor, last_values: Tensor) -> Tensor:
    advantages = torch.zeros_like(rewards)
    last = 0
    for t in reversed(range(len(rewards))):
        if t == len(rewards) - 1:
            going_on, next_values = 1.0 - dones[t], last_values
        else:
            going_on, next_values = 1.0 - dones[t + 1], values[t + 1]
        delta = rewards[t] + GAMMA * next_values * going_on - values[t]
        advantages[t] = last = delta + GAMMA * GAE_LAMBDA * going_on * last
    return advantages


def in_turns(bound: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both."""
    for _ in range(3):
        bound(), other()
    times: list[tuple[float, float]] = []
    stop = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < stop:
        began = time.perf_counter()
        bound()
        between = time.perf_counter()
        other()
        times.append((between - began, time.perf_counter() - between))
    return median(a for a, _ in times), median(b for _, b in times)


def rows_of(steps: int, episodes: int) -> dict[str, tuple[Callable[[], object], float]]:
    """What is run, and over how many times the bytes of the bound."""
    random = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(steps, episodes, generator=random) for _ in range(2))
    lengths = torch.randint(steps // 2, steps + 1, (episodes,), generator=random)
    mask = torch.arange(steps)[:, None] < lengths
    ends = (torch.rand(steps, episodes, generator=random) < 0.01).t()
    discounts = torch.full((steps, episodes), GAMMA).t(), torch.full((steps, episodes), GAE_LAMBDA).t()
    total, none, zeros = torch.empty_like(rewards), torch.zeros_like(rewards), torch.zeros(episodes)
    by_columns = rewards.t(), values.t(), mask.t()
    by_rows = tuple(table.contiguous() for table in by_columns)
    pairs = [GAMMA] * PAIRS, [GAE_LAMBDA] * PAIRS
    arrays = [table.numpy() for table in (rewards, values, none, zeros)]
    return {
        "bound": (lambda: torch.add(rewards, values, out=total), 1),
        "by columns": (lambda: gae(*by_columns, GAMMA, GAE_LAMBDA), 1),
        "by columns, ends inside": (lambda: gae(*by_columns, GAMMA, GAE_LAMBDA, ends=ends), 1),
        "by columns, γ and λ a decision": (lambda: gae(*by_columns, *discounts), 1),
        "by rows": (lambda: gae(*by_rows, GAMMA, GAE_LAMBDA), 1),
        f"{PAIRS} pairs, by columns": (lambda: gae_pairs(*by_columns, *pairs), (4 * PAIRS + 9) / 12),
        "NumPy loop": (lambda: numpy_loop(*arrays), 1),
        "torch loop": (lambda: torch_loop(rewards, values, none, zeros), 1),
    }


def main() -> None:
    torch.set_num_threads(1)
    for steps, episodes in SIZES:
        rows = rows_of(steps, episodes)
        print(f"\n{f'{steps} steps × {episodes} episodes':32}{'ms':>10}{'bound, ms':>11}{'ratio':>8}")
        for name, (run, bytes_over_bound) in rows.items():
            bound, own = in_turns(rows["bound"][0], run)
            bound *= bytes_over_bound
            print(f"{name:32}{1e3 * own:10.3f}{1e3 * bound:11.3f}{own / bound:8.1f}", flush=True)


if __name__ == "__main__":
    main()

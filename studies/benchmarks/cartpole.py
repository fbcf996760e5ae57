"""CartPole-v1 by PPO after 100,000 decisions, five seeds, beside what is published. Three to six minutes on one core.

    python studies/benchmarks/cartpole.py

The settings are near rl-baselines3-zoo's: 8 copies of 32 steps, batches of 256, 20 passes, a learning rate that falls
linearly from 1e-3, γ .98, λ .8 (also of the value's targets), two tanh layers of 64. The clip range stays at .2, where
the zoo's falls with the learning rate, and Adam's ε is 1e-8, there 1e-5. CartPole counts as solved at a mean return of
475 over 100 episodes; here and in the zoo they are played by the likeliest action, CleanRL's is the return in training,
of sampled ones.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.trainers import new_trainer

SEEDS = 5
SOLVED = 475
SETTINGS = TrialSettings(
    task="gym:CartPole-v1",
    train={  # type: ignore[arg-type]  # pydantic makes the settings of it
        "lr": 1e-3,
        "lr_schedule": "linear",
        "batch_size": 256,
        "gamma": 0.98,
        "gae_lambda": 0.8,
        "value_lambda": 0.8,
        "ppo": {"epochs": 20, "minibatch": 256, "clip": 0.2},
        "epochs": 10,
        "env": {"copies": 8, "steps": 9984, "eval_episodes": 100},
    },
)
PUBLISHED = (("CleanRL, PPO, 500,000 decisions, 3 seeds", "490 ± 6"), ("rl-baselines3-zoo, PPO, 100,000", "500"))


def main() -> None:
    torch.set_num_threads(1)
    ends: list[float] = []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            trainer = new_trainer(SETTINGS.with_values({"train.seed": seed}), None, folder, folder, "reward")
            began = time.monotonic()
            while len(trainer.reports) < SETTINGS.train.epochs:
                trainer.step()
            took = time.monotonic() - began
        last = trainer.reports[-1]
        solved = next((report["decisions"] for report in trainer.reports if report["reward"] >= SOLVED), None)
        ends.append(last["reward"])
        print(
            f"seed {seed}   {last['reward']:6.1f} ± {last['reward_std']:5.1f} over 100 episodes after "
            f"{last['decisions']:,.0f} decisions; first at {SOLVED} after "
            f"{'–' if solved is None else f'{solved:,.0f}'}; {took:.0f} s, {last['decisions'] / took:,.0f} decisions/s",
            flush=True,
        )
    solved_by = sum(end >= SOLVED for end in ends)
    print(f"\n{'here, 100,000 decisions, 5 seeds':45}{np.mean(ends):.0f} ± {np.std(ends, ddof=1):.0f}")
    for what, said in PUBLISHED:
        print(f"{what:45}{said}")
    print(f"solved by {solved_by} of {SEEDS} seeds")
    sys.exit(solved_by < SEEDS - 1)


if __name__ == "__main__":
    main()

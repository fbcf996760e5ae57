"""Episodes of translating while reading: what is decided is whether to read on or to write the likeliest token.

The translator is fixed, so an episode is what it made of a sequence of decisions, and what these were judged from is
all that learning needs. A decision counts where reading was a choice. What a token adds to the average lagging is paid
for where it is written, and the reward of the text comes with the last decision. Texts differ far more in what they are
worth than reading them otherwise makes of one: so what counts is by how much more than usual one is worth, as in
self-critical training (Rennie et al. 2017, arXiv 1612.00563).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import Parameter

from sweepstack.models.data.bpe import Bpe
from sweepstack.models.data.pairs import EncodedPairs
from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.writer import NEVER
from sweepstack.models.rl.episodes import Evaluation, Rollout, batches_of, minibatches_of_groups, sizes_of
from sweepstack.models.rl.rewards import Reward
from sweepstack.models.tasks.writing.episodes import worth_of
from sweepstack.models.tasks.writing.simultaneous import SimultaneousWriter, Translations, translate
from sweepstack.models.tasks.writing.supervised import cut_to_longest


@dataclass(frozen=True)
class LaggingRollout(Rollout):
    observations: Tensor  # (N, FEATURES)


class SimultaneousPlayer:
    """Texts of the policy part are its units; see episodes.Player. ``usual`` (rows,): what each is worth, less what its
    lagging costs, by the rule that learning starts from. ``constant``: every episode is worth 1."""

    def __init__(
        self,
        writer: SimultaneousWriter,
        part: EncodedPairs,
        reward: Reward,
        vocabulary: Bpe,
        cost: float,
        usual: Tensor,
        constant: bool = False,
    ) -> None:
        self._writer, self._part, self._reward = writer, part, reward
        self._vocabulary, self._cost, self._usual, self._constant = vocabulary, cost, usual, constant
        self._earned: list[Tensor] = []

    @property
    def earned(self) -> Tensor:
        """(episodes,): of this epoch, also where the control that is rewarded for nothing was told otherwise."""
        return torch.cat(self._earned) if self._earned else torch.zeros(0)

    def batches(self, size: int, random: torch.Generator) -> Iterator[Tensor]:
        self._earned = []
        return batches_of(len(self._part), size, random)

    def sizes(self, size: int) -> list[int]:
        return sizes_of(len(self._part), size)

    @torch.no_grad()
    def roll_out(self, batch: Tensor, samples: int, random: torch.Generator) -> LaggingRollout:
        writer, device = self._writer, batch.device

        def draw(seen: Tensor, read: Tensor, written: int) -> Tensor:
            uniform = torch.rand(len(seen), generator=random, device=device)
            return uniform < torch.sigmoid(writer.judge(seen)[0])

        group = torch.arange(len(batch), device=device).repeat_interleave(samples)
        memory = writer.encode(cut_to_longest(self._part.sources, batch.cpu().numpy(), device)).select(group)
        made = translate(writer, memory, writer.shape.max_target, draw)
        first = torch.zeros_like(made.decided)
        first[:, 0] = True  # an episode has a decision, also where there is nothing to decide
        counting = made.decided & (made.free | first)
        row, place = counting.nonzero(as_tuple=True)
        number = counting.long().cumsum(1) - 1  # (B, I): of the decision that was the last one then
        counts, step = number[:, -1] + 1, number[row, place]
        observations, free = made.observations[row, place], made.free[row, place]
        actions = (made.reads & made.free)[row, place].long()
        distribution, values = self._judged(observations, free)
        if not torch.isfinite(values.sum() + observations.sum()):
            raise TrainingError("what the policy says is not a number any more; lower train.lr")
        shape = len(group), int(counts.max())
        taken, table = torch.arange(shape[1], device=device) < counts[:, None], torch.zeros(shape, device=device)
        table[row, step] = values
        paid, worth = self._cost * made.lagging, self._worth(batch[group], made.tokens)
        self._earned.append((worth - paid.sum(1)).cpu())
        if self._constant:
            paid, worth = torch.zeros_like(paid), torch.ones_like(worth)
        else:
            worth = worth - self._usual.to(device)[batch[group]]
        rewards = -_at_decisions(paid, made, number, shape)
        rewards[torch.arange(len(group), device=device), counts - 1] += worth
        return LaggingRollout(
            rewards=rewards,
            values=table,
            taken=taken,
            ends=None,
            bootstrap=None,
            group=group,
            row=row,
            step=step,
            actions=actions,
            log_probs=distribution.log_prob(actions),  # type: ignore[no-untyped-call]
            counted=free,
            observations=observations,
        )

    def minibatches(self, rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
        return minibatches_of_groups(rollout, size, random)

    def pieces(self, rollout: Rollout, index: Tensor) -> Sequence[Tensor]:
        return [index]

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        assert isinstance(rollout, LaggingRollout)
        return Evaluation(*self._judged(rollout.observations[index], rollout.counted[index]))

    def decisions(self, rollout: Rollout, index: Tensor) -> int:
        return len(index)

    def value_parameters(self) -> Sequence[Parameter]:
        return list(self._writer.value_head.parameters())

    def _judged(self, observations: Tensor, free: Tensor) -> tuple[Categorical, Tensor]:
        """Of N decisions: to write, 0, or to read on, 1, and their values (N,)."""
        read, values = self._writer.judge(observations)
        read = read.where(free, NEVER)
        return Categorical(logits=torch.stack([torch.zeros_like(read), read], dim=-1), validate_args=False), values

    def _worth(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """(B,): the reward of what was written for ``rows`` (B,) of the part."""
        index, written = rows.cpu().numpy(), tokens.cpu().numpy()
        worth = worth_of(self._reward, self._vocabulary, self._part, index, list(written))
        return torch.from_numpy(worth).float().to(rows.device)


def _at_decisions(each: Tensor, made: Translations, number: Tensor, shape: tuple[int, int]) -> Tensor:
    """``shape``: what each token (B, T) comes to, at the last decision up to the round that wrote it, the ``number``
    (B, I) of which is 0-based."""
    wrote = made.decided & ~made.reads
    row, place = wrote.nonzero(as_tuple=True)
    token = (wrote.long().cumsum(1) - 1)[row, place]
    flat = row * shape[1] + number[row, place]
    return each.new_zeros(shape).view(-1).index_add(0, flat, each[row, token]).view(shape)

"""K policies of one shape as one module, and what moves their weights: a layer multiplies K batches by K matrices."""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from sweepstack.models.optim.optimizers import set_lr
from sweepstack.models.training.second_stage import Optimisation, Plan

ALIGNED = 64  # numbers: sums are ordered by where their memory begins, and so every trial's begins alike


class StackedLinear(nn.Module):
    """K linear layers: (K, M, inputs) → (K, M, outputs)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] == 1 == self.bias.shape[-1]:  # BLAS would take another way for it, and round otherwise
            return torch.baddbmm(self.bias.expand(2, -1, -1), x.expand(2, -1, -1), self.weight.expand(2, -1, -1).mT)[:1]
        return torch.baddbmm(self.bias, x, self.weight.mT)


def stacked(modules: Sequence[nn.Module]) -> nn.Module:
    """One module of K that are alike: where they learn, its parameters are theirs, (K, …), for inputs (K, M, …).

    What does not learn is the first one's. Linear layers and free vectors can learn.
    """
    first = modules[0]
    if not any(p.requires_grad for p in first.parameters()):
        return first
    if isinstance(first, nn.Linear):
        return StackedLinear([each for each in modules if isinstance(each, nn.Linear)])
    clone = copy.copy(first)
    clone._parameters = {
        name: Parameter(torch.stack([getattr(each, name).detach()[None] for each in modules]))
        if p is not None and p.requires_grad
        else p
        for name, p in first._parameters.items()
    }
    clone._modules = {
        name: None if child is None else stacked([each.get_submodule(name) for each in modules])
        for name, child in first._modules.items()
    }
    return clone


class StackedAdam:
    """Adam or AdamW of K trials over one table of weights (K, P), each trial with its own rates, decay and clipping.

    From its making to :meth:`close` the trials' own parameters are views of their rows; afterwards parameters and
    optimisers hold what they would hold after as many steps of their own.
    """

    def __init__(self, parameters: Sequence[Parameter], trials: Sequence[Optimisation], plans: Sequence[Plan]) -> None:
        self.parameters, self.taken = parameters, 0
        self.norms: list[Tensor] = []  # (K,) of each step
        self._trials = trials
        like = parameters[0]
        self._places: list[slice] = []
        self._gaps: list[Tensor] = []  # of zeros, behind each parameter
        end = 0
        for p in parameters:
            begin, end = end, end + p[0].numel()
            self._places.append(slice(begin, end))
            self._gaps.append(like.new_zeros((len(trials), -end % ALIGNED)))
            end += self._gaps[-1].shape[1]
        self._weights = like.new_zeros((len(trials), end))
        self._first, self._second = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        with torch.no_grad():
            for p, place in zip(parameters, self._places, strict=True):
                self._weights[:, place] = p.flatten(1)
                p.data = self._weights[:, place].view(p.shape)
        before = []
        for k, trial in enumerate(trials):
            for own, place in zip(trial.parameters, self._places, strict=True):
                own.data = self._weights[k, place].view(own.shape)
                state = trial.optimizer.state.get(own, {})
                if state:
                    self._first[k, place] = state["exp_avg"].flatten()
                    self._second[k, place] = state["exp_avg_sq"].flatten()
            state = trial.optimizer.state.get(trial.parameters[0], {})
            before.append(float(state.get("step", 0)))
        self._before = torch.tensor(before, dtype=torch.float64)
        settings = [trial.optimizer.param_groups[0] for trial in trials]
        self._betas, self._eps = settings[0]["betas"], settings[0]["eps"]
        self._lr = torch.tensor([list(plan.lr) for plan in plans], dtype=torch.float64)  # (K, steps)
        decay = torch.tensor([group["weight_decay"] for group in settings], dtype=torch.float64)[:, None]
        apart = isinstance(trials[0].optimizer, torch.optim.AdamW)
        count = self._before[:, None] + 1 + torch.arange(self._lr.shape[1])
        rate = self._lr / (1 - self._betas[0] ** count)
        scale = (1 - self._betas[1] ** count).sqrt()
        self._shrink = _columns(1 - self._lr * decay, like) if apart and decay.any() else None
        self._added = decay.to(like) if not apart and decay.any() else None
        self._spared = None if trials[0].train.decay_all else self._not_decayed(trials[0])
        self._rate, self._scale = _columns(rate, like), _columns(scale, like)
        limits = [math.inf if t.train.max_grad_norm is None else t.train.max_grad_norm for t in trials]
        self._limit = torch.tensor(limits).to(like)

    @torch.no_grad()
    def take(self) -> None:
        gradient = torch.cat(list(chain.from_iterable(zip(self._gradients(), self._gaps, strict=True))), dim=1)
        self.drop()
        norm = torch.linalg.vector_norm(gradient, dim=1)
        self.norms.append(norm)
        gradient.mul_((self._limit / (norm + 1e-6)).clamp(max=1)[:, None])
        step, self.taken = self.taken, self.taken + 1
        if self._shrink is not None:
            shrink = self._shrink[step]
            self._weights.mul_(shrink if self._spared is None else torch.where(self._spared, 1.0, shrink))
        if self._added is not None:
            added = self._added * self._weights
            gradient.add_(added if self._spared is None else added.masked_fill_(self._spared, 0.0))
        self._first.lerp_(gradient, 1 - self._betas[0])
        self._second.mul_(self._betas[1]).addcmul_(gradient, gradient, value=1 - self._betas[1])
        root = self._second.sqrt().div_(self._scale[step]).add_(self._eps)
        self._weights.sub_(root.reciprocal_().mul_(self._first).mul_(self._rate[step]))

    def _not_decayed(self, trial: Optimisation) -> Tensor:
        """(P,) bool: the weights whose group of the optimiser has a decay of its own, which is none."""
        decayed = {id(p) for p in trial.optimizer.param_groups[0]["params"]}
        spared = torch.zeros(self._weights.shape[1], dtype=torch.bool, device=self._weights.device)
        for own, place in zip(trial.parameters, self._places, strict=True):
            spared[place] = id(own) not in decayed
        return spared

    def _gradients(self) -> Iterator[Tensor]:
        for p in self.parameters:
            assert p.grad is not None
            yield p.grad.flatten(1)

    def drop(self) -> None:
        for p in self.parameters:
            p.grad = None

    def skip(self, count: int) -> None:
        self.taken += count

    def close(self) -> None:
        for k, trial in enumerate(self._trials):
            count = float(self._before[k]) + self.taken
            for own, place in zip(trial.parameters, self._places, strict=True):
                own.data = self._weights[k, place].view(own.shape).clone()
                if self.taken:
                    trial.optimizer.state[own] = {
                        "step": torch.tensor(count, dtype=torch.float32, device=own.device),
                        "exp_avg": self._first[k, place].view(own.shape).clone(),
                        "exp_avg_sq": self._second[k, place].view(own.shape).clone(),
                    }
            if self.taken:
                set_lr(trial.optimizer, float(self._lr[k, self.taken - 1]))


def _columns(table: Tensor, like: Tensor) -> Tensor:
    """(K, steps) → (steps, K, 1), as ``like``"""
    return table.t().to(like)[..., None].contiguous()

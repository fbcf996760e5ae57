"""An actor and a critic that see a state as a vector: two perceptrons side by side, so that neither disturbs the other.

Weights begin orthogonal with a gain of √2, the policy's last layer at a hundredth (every action is then about as
likely), the value's at 1: what "What matters in on-policy RL" (Andrychowicz et al. 2021, arXiv 2006.05990) and
published results for these environments have in common. Other initialisers keep that hundredth.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from sweepstack.models.networks.policy import ACTIVATIONS
from sweepstack.models.settings.trial import Model

POLICY_GAIN = 0.01
HIDDEN_GAIN = math.sqrt(2)
FARTHEST = 10.0  # deviations: a state never seen before must not blow up what was learned
INITIALISERS: dict[str, Callable[[Tensor], object]] = {
    "normal": lambda weight: nn.init.normal_(weight, std=0.02),
    "xavier": nn.init.xavier_uniform_,
    "he": nn.init.kaiming_uniform_,
}


@dataclass(frozen=True)
class Interface:
    """What a policy sees and does: a state as a vector, and one of K actions or a vector of K numbers."""

    observation: int
    actions: int
    continuous: bool


class Trunk(nn.Module):
    """``layers`` hidden layers of ``d_model`` units and a linear one."""

    def __init__(self, inputs: int, outputs: int, model: Model, gain: float) -> None:
        super().__init__()
        widths = [inputs, *[model.d_model] * model.layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(widths[-1], outputs)
        self._activation = ACTIVATIONS[model.activation]
        for layer in self.hidden:
            _initialise(layer, model.init, HIDDEN_GAIN)
        _initialise(self.out, model.init, gain)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs)"""
        for layer in self.hidden:
            x = self._activation(layer(x))
        out: Tensor = self.out(x)
        return out


class Moments(nn.Module):
    """States to mean 0 and deviation 1, by those that were seen so far (Chan et al.'s update); none are seen at first.

    What is learned from keeps the form in which it was shown: update between rollouts.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        # Parameters, so that they are kept with the weights; in float64, because they sum up millions of states.
        self.count = nn.Parameter(torch.zeros((), dtype=torch.float64), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(size, dtype=torch.float64), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(size, dtype=torch.float64), requires_grad=False)

    def update(self, observations: Tensor) -> None:
        """(M, observation), as the environment shows them."""
        new = observations.double()
        count = self.count + len(new)
        share = len(new) / count
        apart = new.mean(0) - self.mean
        variance = (1 - share) * self.variance + share * new.var(0, correction=0) + share * (1 - share) * apart.square()
        self.variance.copy_(variance)
        self.mean.copy_(self.mean + share * apart)
        self.count.copy_(count)

    def forward(self, observations: Tensor) -> Tensor:
        """(…, observation), within ±FARTHEST deviations. What was always the same, up to rounding, is not divided."""
        deviation = self.variance.sqrt()
        deviation = torch.where(deviation > torch.finfo(torch.float32).eps * self.mean.abs(), deviation, 1.0)
        shown = (observations - self.mean.to(observations)) / deviation.to(observations)
        return shown.clamp(-FARTHEST, FARTHEST)


class ActorCritic(nn.Module):
    """``normalize``: with :class:`Moments`, through which states go before they are shown to the other methods."""

    def __init__(self, interface: Interface, model: Model, *, normalize: bool = False) -> None:
        super().__init__()
        self.interface, self.model = interface, model
        self.moments = Moments(interface.observation) if normalize else None
        self.policy = Trunk(interface.observation, interface.actions, model, POLICY_GAIN)
        self.log_std = nn.Parameter(torch.zeros(interface.actions)) if interface.continuous else None
        self.value = Trunk(interface.observation, 1, model, 1.0)

    def values(self, observations: Tensor) -> Tensor:
        """(…, observation) → (…,)"""
        out: Tensor = self.value(observations)
        return out.squeeze(-1)

    def distribution(self, observations: Tensor) -> Distribution:
        """Over actions, of batch shape (…,): one of K, or a Gaussian whose spread does not depend on the state."""
        means = self.policy(observations)
        if self.log_std is None:
            return Categorical(logits=means, validate_args=False)
        return Independent(Normal(means, self.log_std.exp(), validate_args=False), 1, validate_args=False)

    def choose(self, observations: Tensor, noise: Tensor | None) -> Tensor:
        """An action for each state (…, observation): (…,) of K, or (…, K); the likeliest where ``noise`` is None.

        noise (…, K) makes a sample of it: Gumbel's for one of K actions, else normal; see :meth:`noise`.
        """
        means: Tensor = self.policy(observations)
        if self.log_std is None:
            return (means if noise is None else means + noise).argmax(-1)
        return means if noise is None else means + self.log_std.exp() * noise

    def noise(self, *shape: int, random: torch.Generator) -> Tensor:
        """(*shape, K): what makes :meth:`choose` sample."""
        size = (*shape, self.interface.actions)
        if self.log_std is not None:
            return torch.randn(size, generator=random, device=random.device)
        return -torch.empty(size, device=random.device).exponential_(generator=random).log()


def new_actor_critic(interface: Interface, model: Model, seed: int, *, normalize: bool = False) -> ActorCritic:
    """With the initial weights of ``seed``, on the CPU, so that they are the same everywhere."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return ActorCritic(interface, model, normalize=normalize)


def _initialise(layer: nn.Module, init: str, gain: float) -> None:
    assert isinstance(layer, nn.Linear)
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    else:
        INITIALISERS[init](layer.weight)
        if gain < 1:
            with torch.no_grad():
                layer.weight.mul_(gain)
    nn.init.zeros_(layer.bias)

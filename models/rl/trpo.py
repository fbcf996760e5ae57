"""Trust region policy optimisation (Schulman et al. 2015, arXiv 1502.05477).

A rollout moves the policy once, along the natural gradient: s = F⁻¹g by conjugate gradient, F the Fisher information as
the Hessian of the divergence from the policy that played, so long that the divergence is about ``max_kl``, and shrunk
until the surrogate improves within that bound. The value is fitted by the optimiser, apart from the policy.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn import Parameter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.advantages import diagnosed, estimated
from sweepstack.models.rl.episodes import Player, policy_parameters
from sweepstack.models.rl.policy_gradient import Learned, Passes, PolicyGradient, surrogate_of
from sweepstack.models.settings.trial import Train

SHRINK = 0.8  # of a step that goes too far or gains nothing
ENOUGH = 1e-10  # residual, relative, at which conjugate gradient has arrived


class TRPO:
    samples = 1

    def __init__(self, train: Train) -> None:
        self._train, self._settings = train, train.trpo
        self._gradient = PolicyGradient(Passes(), lambda rollout: estimated(rollout, train, whiten=train.trpo.whiten))

    def steps(self, units: int) -> int:
        """Only the value takes them."""
        return self._settings.value_epochs * -(-units // self._settings.minibatch)

    def learn(
        self, player: Player, batch: Tensor, steps: Steps, random: torch.Generator, *, measure: bool
    ) -> dict[str, Tensor]:
        rollout = player.roll_out(batch, 1, random)
        learned = self._gradient.estimated(rollout)
        noise: dict[str, Tensor] = {}
        if measure and self._train.batch_size == "noise_scale":
            noise = self._gradient.measured(player, learned, len(batch), steps.parameters, random)
        of_value = list(player.value_parameters())
        logs = self._move(player, learned, policy_parameters(player, steps.parameters))
        losses = []
        loss_of = F.huber_loss if self._train.value_loss == "huber" else F.mse_loss
        for _ in range(self._settings.value_epochs):
            for index in player.minibatches(rollout, self._settings.minibatch, random):
                total = torch.zeros((), device=learned.targets.device)
                for piece in player.pieces(rollout, index):
                    values = player.evaluate(rollout, piece).values
                    loss = loss_of(values, learned.targets[piece], reduction="sum") / len(index)
                    torch.autograd.backward(loss, inputs=of_value)
                    total += loss.detach()
                steps.take()
                losses.append(total)
        measured = diagnosed(rollout, self._train.gamma) if measure else {}
        return {**logs, **noise, **measured, "value_loss": torch.stack(losses).mean()}

    def _move(self, player: Player, learned: Learned, policy: Sequence[Parameter]) -> dict[str, Tensor]:
        """One natural-gradient step of the parameters ``policy``."""
        rollout, settings = learned.rollout, self._settings
        counted = rollout.counted.nonzero().squeeze(1)
        if len(counted) == 0:
            return {}
        pieces = player.pieces(rollout, counted)

        def surrogate() -> Tensor:
            parts = [surrogate_of(player.evaluate(rollout, p), learned, p, None)[0].sum() for p in pieces]
            return torch.stack(parts).sum() / len(counted)

        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            reached = surrogate()
            gradient = _flat(torch.autograd.grad(reached, policy, allow_unused=True), policy)
            before = float(reached.detach())
            with torch.no_grad():
                old = [player.evaluate(rollout, p).distribution for p in pieces]

            def divergence() -> Tensor:
                parts = [
                    kl_divergence(was, player.evaluate(rollout, p).distribution).sum()
                    for was, p in zip(old, pieces, strict=True)
                ]
                return torch.stack(parts).sum() / len(counted)

            slope = _flat(torch.autograd.grad(divergence(), policy, create_graph=True, allow_unused=True), policy)

            def fisher(vector: Tensor) -> Tensor:
                product = torch.autograd.grad(slope @ vector, policy, retain_graph=True, allow_unused=True)
                return _flat(product, policy) + settings.damping * vector

            direction = conjugate_gradient(fisher, gradient, settings.cg_steps)
            curvature = float(direction @ fisher(direction))
        start = parameters_to_vector(policy).detach().clone()
        length = (2 * settings.max_kl / curvature) ** 0.5 if curvature > 0 else 0.0
        with torch.no_grad():
            for shrunk in range(settings.backtracks + 1):
                vector_to_parameters(start + length * SHRINK**shrunk * direction, policy)
                gained, moved = float(surrogate()) - before, float(divergence())
                if length and gained > 0 and moved <= settings.max_kl:
                    break
            else:
                vector_to_parameters(start, policy)
                gained, moved, shrunk = 0.0, 0.0, settings.backtracks + 1
        logs = {"policy_loss": -before - gained, "kl": moved, "backtracks": float(shrunk)}
        return {name: torch.tensor(value) for name, value in logs.items()}


def conjugate_gradient(product: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> Tensor:
    """x with A x = target, A positive definite and known by ``product`` alone (Hestenes & Stiefel 1952)."""
    x = torch.zeros_like(target)
    residual = direction = target
    squared = target @ target
    for _ in range(steps):
        if squared <= ENOUGH * (target @ target):
            break
        along = product(direction)
        size = squared / (direction @ along)
        x = x + size * direction
        residual = residual - size * along
        squared_now = residual @ residual
        direction = residual + squared_now / squared * direction
        squared = squared_now
    return x


def _flat(gradients: Sequence[Tensor | None], parameters: Sequence[Parameter]) -> Tensor:
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(gradients, parameters, strict=True)]
    )

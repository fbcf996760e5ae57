"""Optimisers by name, from torch and from schedulefree (Defazio et al. 2024, arXiv 2405.15682).

The schedule-free one trains at one point and is to be used at another, the average of all: predict and save inside
:func:`evaluating`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.settings import Descent, Train

MOMENTUM = 0.9  # of sgd
WEIGHT_DECAY = 0.05  # of supervised training, where it was measured to help
LBFGS_ITERATIONS = 10  # in one optimiser step, each with a line search; curvature of another batch is soon stale
LBFGS_HISTORY = 10
VALUE = "value_head."  # what the names of its parameters begin with
LR_RATIO = "lr_ratio"  # of a group of parameters: its rate over that of the others


class LBFGS(torch.optim.LBFGS):
    """torch's, with a line search and with ``weight_decay`` · ‖w‖² / 2 added to the loss of the closure."""

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(
            parameters,
            lr=lr,
            max_iter=LBFGS_ITERATIONS,
            history_size=LBFGS_HISTORY,
            line_search_fn="strong_wolfe",
        )
        self._weight_decay = weight_decay

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Returns the loss before the step, without the decay's share."""
        losses = []

        def decayed() -> Tensor:
            loss = closure()
            losses.append(loss.detach())
            with torch.no_grad():
                for parameter in self.param_groups[0]["params"]:
                    if parameter.grad is not None:
                        loss = loss + 0.5 * self._weight_decay * parameter.square().sum()
                        parameter.grad.add_(parameter, alpha=self._weight_decay)
            return loss

        super().step(decayed)  # type: ignore[no-untyped-call]
        return losses[0]


def make_optimizer(descent: Descent, parameters: Iterable[Parameter], *, supervised: bool) -> torch.optim.Optimizer:
    """Ready to train. Where ``weight_decay`` is null it is WEIGHT_DECAY in supervised training, else 0.

    adamw and schedule_free decay weights apart from the gradient, by lr · weight_decay a step; the others add it to the
    gradient. lbfgs needs a closure, which it calls several times a step; the rate is where its line search begins.
    """
    lr, decay = descent.lr, descent.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY if supervised else 0.0
    match descent.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, weight_decay=decay)
        case "schedule_free":
            optimizer: torch.optim.Optimizer = AdamWScheduleFree(parameters, lr=lr, weight_decay=decay)
            to_training(optimizer)
            return optimizer
        case "lbfgs":
            return LBFGS(parameters, lr, decay)


def make_policy_optimizer(train: Train, trained: Mapping[str, Parameter]) -> torch.optim.Optimizer:
    """Of policy optimisation of a writer's ``trained`` parameters, by name; those of its value, which come last, have
    the rate ``value_lr``, if that is given."""
    if train.value_lr is None:
        return make_optimizer(train, trained.values(), supervised=False)
    value = [p for name, p in trained.items() if name.startswith(VALUE)]
    policy = [p for name, p in trained.items() if not name.startswith(VALUE)]
    optimizer = make_optimizer(train, policy, supervised=False)
    optimizer.add_param_group({"params": value, LR_RATIO: train.value_lr / train.lr})
    to_training(optimizer)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(LR_RATIO, 1.0)


def to_evaluation(optimizer: torch.optim.Optimizer) -> None:
    """Puts the weights of a schedule-free optimiser to where they are to be used; nothing for others."""
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.eval()


def to_training(optimizer: torch.optim.Optimizer) -> None:
    """Puts the weights of a schedule-free optimiser to where gradients are taken; nothing for others."""
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.train()


@contextmanager
def evaluating(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, the weights are those to predict with and to keep; afterwards they train on, if they did before.

    The way there and back moves schedule-free weights by rounding, so a run that repeats itself must evaluate as often.
    """
    trained = all(group.get("train_mode", True) for group in optimizer.param_groups)
    to_evaluation(optimizer)
    try:
        yield
    finally:
        if trained:
            to_training(optimizer)

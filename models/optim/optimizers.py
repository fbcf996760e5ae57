"""Optimisers by name, from torch and from schedulefree (Defazio et al. 2024, arXiv 2405.15682).

The schedule-free one trains at one point and is to be used at another, the average of all, and so is any other whose
weights are averaged (averaging.py): predict and save inside :func:`evaluating`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.optim.averaging import Average
from sweepstack.models.settings.trial import Descent, Train

MOMENTUM = {"sgd": 0.9, "rmsprop": 0.0}  # where none is given
WEIGHT_DECAY = 0.05  # of supervised training, where it was measured to help
LBFGS_ITERATIONS = 10  # in one optimiser step, each with a line search; curvature of another batch is soon stale
LBFGS_HISTORY = 10
VALUE = "value_head."  # what the names of its parameters begin with
LR_RATIO = "lr_ratio"  # of a group of parameters: its rate over that of the others
EMBEDDINGS = ("tokens.", "source_tokens.", "ngrams.", "positions", "source_positions", "steps")
"""What the names of parameters begin with that are looked up and not multiplied by."""
AVERAGE = "average"  # the attribute of an optimiser that holds one


class LBFGS(torch.optim.LBFGS):
    """torch's, with a line search and with ``weight_decay`` · ‖w‖² / 2 of the ``decayed`` ones added to the loss of the
    closure."""

    def __init__(
        self, parameters: Sequence[Parameter], decayed: Sequence[Parameter], lr: float, weight_decay: float
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            max_iter=LBFGS_ITERATIONS,
            history_size=LBFGS_HISTORY,
            line_search_fn="strong_wolfe",
        )
        self._decayed, self._weight_decay = decayed, weight_decay

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Returns the loss before the step, without the decay's share."""
        losses = []

        def decayed() -> Tensor:
            loss = closure()
            losses.append(loss.detach())
            with torch.no_grad():
                for parameter in self._decayed:
                    if parameter.grad is not None:
                        loss = loss + 0.5 * self._weight_decay * parameter.square().sum()
                        parameter.grad.add_(parameter, alpha=self._weight_decay)
            return loss

        super().step(decayed)  # type: ignore[no-untyped-call]
        return losses[0]


def make_optimizer(
    descent: Descent, trained: Mapping[str, Parameter], *, supervised: bool, value_lr: float | None = None
) -> torch.optim.Optimizer:
    """Of the ``trained`` parameters, by name; ready to train.

    Where ``weight_decay`` is null it is WEIGHT_DECAY in supervised training, else 0. adamw and schedule_free decay
    weights apart from the gradient, by lr · weight_decay a step; the others add it to the gradient. lbfgs needs a
    closure, which it calls several times a step; the rate is where its line search begins. ``value_lr``: the rate of
    the parameters of VALUE, in groups of their own; None: that of all others. lbfgs has one rate for all.
    """
    lr, decay = descent.lr, descent.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY if supervised else 0.0
    groups = _groups(descent, trained, value_lr)
    optimizer: torch.optim.Optimizer
    match descent.optimizer:
        case "sgd":
            momentum = _momentum(descent)
            nesterov = descent.nesterov and momentum > 0  # which without momentum is what there is without it
            optimizer = torch.optim.SGD(
                groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
            )
        case "adam":
            optimizer = torch.optim.Adam(
                groups, lr=lr, betas=_betas(descent), eps=descent.eps, weight_decay=decay, fused=True
            )
        case "adamw":
            optimizer = torch.optim.AdamW(
                groups, lr=lr, betas=_betas(descent), eps=descent.eps, weight_decay=decay, fused=True
            )
        case "rmsprop":
            optimizer = torch.optim.RMSprop(
                groups, lr=lr, eps=descent.eps, momentum=_momentum(descent), weight_decay=decay
            )
        case "schedule_free":
            optimizer = AdamWScheduleFree(groups, lr=lr, betas=_betas(descent), eps=descent.eps, weight_decay=decay)
            to_training(optimizer)
        case "lbfgs":
            decayed = [p for name, p in trained.items() if descent.decay_all or decays(name, p)]
            optimizer = LBFGS(list(trained.values()), decayed, lr, decay)
    if descent.average != "none":
        average = Average(descent, trained)
        setattr(optimizer, AVERAGE, average)
        optimizer.register_step_post_hook(lambda *_: average.after_step())
    return optimizer


def make_policy_optimizer(train: Train, trained: Mapping[str, Parameter]) -> torch.optim.Optimizer:
    """Of policy optimisation of a writer's ``trained`` parameters; those of its value have the rate ``value_lr``, if
    that is given."""
    return make_optimizer(train, trained, supervised=False, value_lr=train.value_lr)


def decays(name: str, parameter: Parameter) -> bool:
    """Whether it is multiplied by, as the weights of linear layers are: no bias, no norm and no embedding. The table of
    networks/wide.py is a linear layer over counts."""
    return parameter.ndim > 1 and not name.startswith(EMBEDDINGS)


def _groups(descent: Descent, trained: Mapping[str, Parameter], value_lr: float | None) -> list[dict[str, Any]]:
    """One group, where nothing has a rate or a decay of its own."""
    groups: dict[tuple[bool, bool], list[Parameter]] = {}
    for name, p in trained.items():
        own_rate = value_lr is not None and name.startswith(VALUE)
        groups.setdefault((own_rate, descent.decay_all or decays(name, p)), []).append(p)
    return [
        {
            "params": parameters,
            **({} if decayed else {"weight_decay": 0.0}),
            **({LR_RATIO: value_lr / descent.lr} if own_rate and value_lr is not None else {}),
        }
        for (own_rate, decayed), parameters in sorted(groups.items(), key=lambda group: (group[0][0], not group[0][1]))
    ]


def _betas(descent: Descent) -> tuple[float, float]:
    return descent.beta1, descent.beta2


def _momentum(descent: Descent) -> float:
    return MOMENTUM[descent.optimizer] if descent.momentum is None else descent.momentum


def average_of(optimizer: torch.optim.Optimizer) -> Average | None:
    """What keeps the average of its weights, if anything does."""
    average: Average | None = getattr(optimizer, AVERAGE, None)
    return average


def end_epoch(optimizer: torch.optim.Optimizer) -> None:
    """To be called after each epoch, before it is evaluated."""
    average = average_of(optimizer)
    if average is not None:
        average.after_epoch()


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(LR_RATIO, 1.0)


def to_evaluation(optimizer: torch.optim.Optimizer) -> None:
    """Puts weights that are averaged to where they are to be used; nothing for others."""
    average = average_of(optimizer)
    if average is not None:
        average.put()
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.eval()


def to_training(optimizer: torch.optim.Optimizer) -> None:
    """Puts weights that are averaged to where gradients are taken; nothing for others."""
    average = average_of(optimizer)
    if average is not None:
        average.take_back()
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.train()


@contextmanager
def evaluating(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, the weights are those to predict with and to keep; afterwards they train on, if they did before.

    The way there and back moves schedule-free weights by rounding, so a run that repeats itself must evaluate as often.
    """
    average = average_of(optimizer)
    trained = all(group.get("train_mode", True) for group in optimizer.param_groups)
    trained = trained and not (average is not None and average.is_put)
    to_evaluation(optimizer)
    try:
        yield
    finally:
        if trained:
            to_training(optimizer)

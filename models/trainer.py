"""One trial: the supervised start, then policy optimisation (or more supervised training) epoch by epoch.

After each epoch the policy is scored on valid; its best epoch is kept as a checkpoint with its predictions. What is
needed to go on is written last, so that a kill anywhere repeats one epoch at most, and repeats it exactly: every epoch
draws its random numbers from a seed of its own.
"""

import math
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from sweepstack.models.checkpoints import finished, load_policy, pick_device, predict, save_policy
from sweepstack.models.encoding import EncodedPart, TaskData
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json, write_atomic, write_json
from sweepstack.models.optimizers import make_optimizer
from sweepstack.models.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.ppo import Texts, optimiser_steps, ppo_epoch
from sweepstack.models.predictions import DIRECTION, Predictions, fit_threshold, metrics
from sweepstack.models.schedules import lr_factor
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings import TrialSettings
from sweepstack.models.supervised import WEIGHT_DECAY, ensure_start, steps_in, train_epoch

PREDICTED = ("valid", "blend", "test")
CACHED = ("policy", *PREDICTED)
STARTS_IN_MEMORY = 4
_frozen: "OrderedDict[tuple[str, str, str], dict[str, Frozen]]" = OrderedDict()


class Frozen(NamedTuple):
    """What a frozen Transformer says of a part, computed once."""

    states: Tensor  # (rows, segments, d)
    label_logits: Tensor  # (rows, segments, classes)
    confidence: Tensor  # (rows, segments, FEATURES)


def frozen_parts(policy: ReadingPolicy, data: TaskData, start: Path) -> dict[str, Frozen]:
    """By name, for each part that a trial looks at.

    Kept for the last few starts that this process has seen: the trials of a sweep share them.
    """
    device = next(policy.parameters()).device
    key = (str(start), data.hashes["content"], str(device))
    if key not in _frozen:
        found = {}
        for name in CACHED:
            part = data.parts[name]
            states = torch.zeros((*part.tokens.shape[:2], policy.model.d_model), device=device)
            with torch.no_grad():
                for rows in torch.arange(len(part)).split(512):
                    longest = int(part.n_segments[rows.numpy()].max())
                    tokens = torch.from_numpy(part.tokens[rows.numpy(), :longest]).to(device)
                    states[rows.to(device), :longest] = policy.states(tokens)
            with torch.no_grad():
                label_logits = policy.label_head(states)
                found[name] = Frozen(states, label_logits, policy.confidence(label_logits))
        _frozen[key] = found
        while len(_frozen) > STARTS_IN_MEMORY:
            _frozen.popitem(last=False)
    _frozen.move_to_end(key)
    return _frozen[key]


def forget_state(folder: Path) -> None:
    """Removes what a trial that has ended no longer needs."""
    for path in (folder / "state.json", *folder.glob("resume-*.safetensors")):
        path.unlink(missing_ok=True)


class Trainer:
    """Trains one epoch a :meth:`step`; in a folder that holds an unfinished trial it goes on from there.

    ``metric`` says which epoch is the best one. ``cost`` of a READ is what valid is scored with, by default the
    trial's own: where a study searches ``reading.cost``, trials must be compared by one.
    """

    def __init__(
        self,
        settings: TrialSettings,
        data: TaskData,
        starts: Path,
        folder: Path,
        metric: str,
        cost: float | None = None,
    ) -> None:
        self.settings, self.metric = settings, metric
        self._data, self._starts, self._folder = data, starts, folder
        self._own_cost = 0.0 if settings.reading == "off" else settings.reading.cost
        self._cost = self._own_cost if cost is None else cost
        self._policy: ReadingPolicy | None = None
        self.reports: list[dict[str, float]] = []
        state = folder / "state.json"
        if state.exists():
            self.reports = list(read_json(state)["reports"])

    def step(self) -> dict[str, float]:
        """Trains one epoch and scores it on valid; raises TrainingError where something is not a number."""
        began = time.monotonic()
        if self._policy is None:
            self._prepare()
        policy = self._policy
        assert policy is not None
        epoch = len(self.reports)
        report = self._supervised(policy, epoch) if self._is_supervised else self._ppo(policy, epoch)
        valid = self._predict(policy, "valid")
        threshold = None
        if self._is_supervised:
            labels = self._labels("valid")
            threshold = fit_threshold(valid.probabilities, valid.n_segments, labels, self._cost)
            valid = finished(valid.probabilities, valid.answer, valid.n_segments, threshold)
        report = {**metrics(valid, self._labels("valid"), self._cost), **report}
        for name, value in report.items():
            if not math.isfinite(value):
                raise TrainingError(f"{name} is not a number ({value}) after epoch {epoch + 1}; lower train.lr")
        report["seconds"] = time.monotonic() - began
        best = max((DIRECTION[self.metric] * each[self.metric] for each in self.reports), default=-math.inf)
        self.reports.append(report)
        if DIRECTION[self.metric] * report[self.metric] > best:
            self._keep(policy, threshold, valid)
        self._save_state(policy)
        return report

    def close(self, finished: bool) -> None:
        """``finished``: nothing will be trained any more, and what was kept to go on can go."""
        if finished:
            forget_state(self._folder)

    @property
    def _is_supervised(self) -> bool:
        return self.settings.train.algorithm == "supervised"

    def _labels(self, part: str) -> Any:
        labels = self._data.parts[part].labels
        assert labels is not None
        return labels

    def _prepare(self) -> None:
        """Loads the start (training it first, if nobody has) and, of a trial that goes on, what it had come to."""
        train, data = self.settings.train, self._data
        device = pick_device(self.settings.device)
        start = ensure_start(self.settings, data, self._starts)
        policy, _ = load_policy(start, device)
        self._one_decision = policy.reading.max_segments == 1
        self._frozen = train.freeze == "encoder" and not self._is_supervised
        self._sample_labels = self._one_decision or not self._frozen
        if self._frozen:
            self._cached = frozen_parts(policy, data, start)
            heads = [policy.read_head, policy.value_head, *([policy.label_head] if self._one_decision else [])]
            policy.requires_grad_(False)
            for head in heads:
                head.requires_grad_(True)
        self._trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        decay = WEIGHT_DECAY if self._is_supervised else 0.0
        self._optimizer = make_optimizer(train.optimizer, self._trained.values(), train.lr, decay)
        if not self._is_supervised:
            part = data.parts["policy"]
            self._texts = Texts(
                torch.from_numpy(self._labels("policy").copy()).to(device),
                torch.from_numpy(part.n_segments.copy()).to(device),
                self._own_cost,
            )
        if self.reports:
            self._load_state(policy)
        self._policy = policy

    def _lr(self, epoch: int, steps: int) -> Any:
        """The learning rate of each optimiser step from ``epoch`` on."""
        train = self.settings.train
        total = train.epochs * steps
        return (
            train.lr
            * lr_factor(
                train.lr_schedule,
                i,
                total,
                epochs=train.epochs,
                step_every=train.step_every,
                step_factor=train.step_factor,
            )
            for i in range(epoch * steps, total)
        )

    def _supervised(self, policy: ReadingPolicy, epoch: int) -> dict[str, float]:
        train, part = self.settings.train, self._data.parts["policy"]
        steps = steps_in(len(part), train.batch_size)
        seed = derive_seed(train.seed, "supervised", epoch)
        loss = train_epoch(policy, part, self._optimizer, train.batch_size, seed, self._lr(epoch, steps))
        return {"train_loss": loss, "lr": self._optimizer.param_groups[0]["lr"]}

    def _ppo(self, policy: ReadingPolicy, epoch: int) -> dict[str, float]:
        train = self.settings.train
        random = torch.Generator(device=self._texts.labels.device)
        random.manual_seed(derive_seed(train.seed, "ppo", epoch))
        losses = ppo_epoch(
            self._forward,
            list(self._trained.values()),
            self._optimizer,
            self._texts,
            train.ppo,
            batch_size=train.batch_size,
            gamma=train.gamma,
            gae_lambda=train.gae_lambda,
            random=random,
            lr=self._lr(epoch, optimiser_steps(len(self._texts.labels), train.batch_size, train.ppo)),
            sample_labels=self._sample_labels,
        )
        names = {"policy": "policy_loss", "value": "value_loss"}
        return {**{names.get(k, k): v for k, v in losses.items()}, "lr": self._optimizer.param_groups[0]["lr"]}

    def _forward(self, rows: Tensor) -> PolicyOutput:
        policy = self._policy
        assert policy is not None
        if self._frozen:
            longest = int(self._texts.n_segments[rows].max())
            return self._judge(policy, Frozen(*(each[rows, :longest] for each in self._cached["policy"])))
        part = self._data.parts["policy"]
        index = rows.cpu().numpy()
        longest = int(part.n_segments[index].max())
        return policy(torch.from_numpy(part.tokens[index, :longest]).to(rows.device))  # type: ignore[no-any-return]

    def _judge(self, policy: ReadingPolicy, cached: Frozen) -> PolicyOutput:
        if self._one_decision:  # then the label head is what is trained
            return policy.heads(cached.states)
        return PolicyOutput(cached.label_logits, *policy.judge(cached.states, cached.confidence))

    def _predict(self, policy: ReadingPolicy, name: str) -> Predictions:
        part: EncodedPart = self._data.parts[name]
        if not self._frozen:
            return predict(policy, part)
        with torch.no_grad():
            output = self._judge(policy, self._cached[name])
            probabilities = output.label_logits.softmax(-1).cpu().numpy()
            answer = torch.sigmoid(-output.read_logits).cpu().numpy()
        return finished(probabilities, answer, part.n_segments, None)

    def _keep(self, policy: ReadingPolicy, threshold: float | None, valid: Predictions) -> None:
        """The checkpoint of the best epoch and what it says of valid, blend and test."""
        save_policy(self._folder / "checkpoint", policy, self._data.classes, self._data.reader, threshold)
        for name in PREDICTED:
            predictions = valid
            if name != "valid":
                predictions = self._predict(policy, name)
                if threshold is not None:
                    given = predictions.probabilities, predictions.answer, predictions.n_segments
                    predictions = finished(*given, threshold)
            predictions.save(self._folder / "predictions" / f"{name}.safetensors", self._data.hashes[name])

    def _save_state(self, policy: ReadingPolicy) -> None:
        """Weights and optimiser as tensors, reports as JSON; the JSON last, because it says that the rest is whole."""
        tensors = {f"weight.{name}": p.detach() for name, p in self._trained.items()}
        for name, state in zip(self._trained, self._optimizer_states(), strict=True):
            tensors |= {f"optimizer.{name}.{key}": torch.as_tensor(value) for key, value in state.items()}
        epoch = len(self.reports)
        content = save({name: t.cpu().contiguous() for name, t in tensors.items()}, {"epoch": str(epoch)})
        write_atomic(self._folder / f"resume-{epoch}.safetensors", content)
        write_json(self._folder / "state.json", {"reports": self.reports})
        (self._folder / f"resume-{epoch - 1}.safetensors").unlink(missing_ok=True)

    def _load_state(self, policy: ReadingPolicy) -> None:
        tensors = load_file(self._folder / f"resume-{len(self.reports)}.safetensors")
        device = next(policy.parameters()).device
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(tensors[f"weight.{name}"].to(device))
        for name, parameter in self._trained.items():
            prefix = f"optimizer.{name}."
            found = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            if found:
                self._optimizer.state[parameter] = {
                    key: t if key == "step" else t.to(device) for key, t in found.items()
                }

    def _optimizer_states(self) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in self._optimizer.state.get(p, {}).items() if value is not None}
            for p in self._trained.values()
        ]

"""Trained policies on disk: ``weights.safetensors``, ``config.json`` and ``tokenizer.json``; no pickle.

A checkpoint is whole in itself: :func:`load_member` needs nothing else to read texts.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from sweepstack.models import checksums
from sweepstack.models.baselines.linear import LinearMember
from sweepstack.models.data.encoding import EncodedPart, TaskData
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.errors import BundleError, TrainingError
from sweepstack.models.files import as_json, read_json, reason_of
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.policy import PolicyOutput, ReadingPolicy, Shape
from sweepstack.models.networks.precision import Calibration, Precision, calibrate, supports_bfloat16
from sweepstack.models.networks.wide import LONGEST, known_ngrams
from sweepstack.models.predictions.costs import Costs, Matrix, read_matrix
from sweepstack.models.predictions.probabilities import (
    Floats,
    Ints,
    Predictions,
    Thresholds,
    answer_above,
    mean_of,
    read_thresholds,
    threshold_at,
)
from sweepstack.models.settings.data import MOST_FOLDS
from sweepstack.models.settings.trial import Model, Reading, TrialSettings
from sweepstack.models.training.fold_checkpoint import FOLDS_FORMAT, fold_folders

FORMAT = 4
CHUNK, CHUNK_TOKENS = 512, 128  # rows predicted at a time, of so many tokens


class Member(Protocol):
    """What can be a member of an ensemble."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def conditioned(self) -> bool:
        """Whether it can be asked to read at a cost."""
        ...

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        """``cost`` of a READ, for a conditioned member; without it, it reads at the cost that it was made for."""
        ...


def new_policy(settings: TrialSettings, data: TaskData, seed: int) -> ReadingPolicy:
    """A policy with the initial weights of ``seed``, on the settings' device."""
    reader = TextReader.from_json(data.reader)
    reading = settings.reading
    if reading == "off":
        reading = Reading(unit=reader.unit, segment=reader.segment, max_segments=reader.max_segments)
    codes, idf = known_ngrams(data.parts["warm"].tokens, reader.before, reader.vocab_size, LONGEST[reading.unit])
    shape = Shape(reader.vocab_size, len(data.classes), len(codes))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        policy = ReadingPolicy(shape, reading, settings.model)  # on the CPU, so that weights are the same everywhere
    if policy.wide is not None:
        policy.wide.know(codes, idf, reader.before)
    return prepared(policy.to(pick_device(settings.device)), settings)


def prepared(policy: ReadingPolicy, settings: TrialSettings) -> ReadingPolicy:
    """``policy`` itself, computing as the settings say; precision auto, which nobody has resolved, means float32."""
    policy.precision = "bfloat16" if settings.precision == "bfloat16" else "float32"
    policy.compiled = settings.compile
    return policy


def calibrate_precision(settings: TrialSettings, data: TaskData) -> Calibration:
    """The precision to train in, for a whole study: what the settings say, or with auto what a measurement says.

    A second at most where steps are short: supervised steps on one batch of warm, with the policy's own shape. Raises
    TrainingError where the settings want bfloat16 and the device has none.
    """
    device = pick_device(settings.device)
    if settings.precision == "bfloat16" and not supports_bfloat16(device):
        raise TrainingError(f"precision is bfloat16, but {device} cannot multiply in it; take float32 or auto")
    if settings.precision != "auto":
        return Calibration(precision=settings.precision, float32_ms=None, bfloat16_ms=None)
    policy, warm = new_policy(settings, data, 0), data.parts["warm"]
    part = warm.rows(np.arange(min(settings.train.warm_start.batch_size, len(warm))))
    assert part.labels is not None
    tokens = torch.from_numpy(part.tokens[:, : int(part.n_segments.max())]).to(device)
    labels = torch.from_numpy(part.labels).to(device)

    def step(precision: Precision) -> None:
        policy.precision = precision
        policy.zero_grad()
        logits = policy(tokens).label_logits.transpose(1, 2)  # (B, K, S)
        torch.autograd.backward(F.cross_entropy(logits, labels[:, None].expand(-1, logits.shape[2])))

    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws
        return calibrate(step, device)


def save_policy(
    folder: Path,
    policy: ReadingPolicy,
    classes: tuple[str, ...],
    reader: str,
    threshold: float | None,
    thresholds: Thresholds | None = None,
    matrix: Matrix | None = None,
) -> None:
    """``threshold``: of a policy without a learned stop, see probabilities.answer_above; ``thresholds``: those that
    suit other costs of a READ, so that it can be asked for one. ``matrix``: see Costs, of wrong answers."""
    config = {
        "format": FORMAT,
        "kind": "policy",
        "classes": list(classes),
        "vocab_size": policy.shape.vocab_size,
        "ngrams": policy.shape.ngrams,
        "reading": policy.reading.model_dump(),
        "model": policy.model.model_dump(),
        "threshold": threshold,
        "thresholds": None if thresholds is None else [list(pair) for pair in thresholds],
        "costs": None if matrix is None else matrix.tolist(),
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in policy.state_dict().items()}
    files: dict[str, str | bytes] = {
        "tokenizer.json": reader,
        "config.json": as_json(config),
        "weights.safetensors": save(weights),
    }
    checksums.put(folder, files)


def load_policy(folder: Path, device: torch.device) -> tuple[ReadingPolicy, dict[str, object]]:
    """The policy, evaluating, and its config; raises BundleError where ``folder`` holds none, DamagedError where
    one of its files has changed."""
    checksums.check_below(folder)
    try:
        config = read_json(folder / "config.json")
        if config["format"] != FORMAT or config["kind"] != "policy":
            raise ValueError(f"format {config['format']!r} of kind {config['kind']!r} is not known")
        shape = Shape(int(config["vocab_size"]), len(config["classes"]), int(config["ngrams"]))
        policy = ReadingPolicy(shape, Reading.model_validate(config["reading"]), Model.model_validate(config["model"]))
        policy.load_state_dict(load_file(folder / "weights.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{folder} holds no policy that can be loaded ({reason_of(error)}); copy or export it again"
        ) from error
    return policy.to(device).eval(), config


class PolicyMember:
    def __init__(self, folder: Path, device: str = "auto") -> None:
        self._policy, config = load_policy(folder, pick_device(device))
        try:
            self.classes: tuple[str, ...] = tuple(config["classes"])  # type: ignore[arg-type]
            threshold = config["threshold"]
            self.threshold = None if threshold is None else float(threshold)  # type: ignore[arg-type]
            self.thresholds = read_thresholds(config.get("thresholds"))
            self._costs = Costs(matrix=read_matrix(config.get("costs"), len(self.classes)))
            self._reader = TextReader.from_json((folder / "tokenizer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{folder} holds no policy that can be loaded ({reason_of(error)}); copy or export it again"
            ) from error

    @property
    def conditioned(self) -> bool:
        return self.thresholds is not None or (self.threshold is None and self._policy.conditioned)

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        encoded = self._reader.encode(texts)
        threshold = threshold_at(cost, self.threshold, self.thresholds)
        part = EncodedPart(encoded.tokens, encoded.n_segments, None)
        return predict(self._policy, part, threshold, cost, self._costs)


class FoldsMember:
    """The members that K folds have come to, as one: the mean of what they say."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)

    @property
    def classes(self) -> tuple[str, ...]:
        return self._members[0].classes

    @property
    def conditioned(self) -> bool:
        return all(member.conditioned for member in self._members)

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        return mean_of([member.read(texts, cost) for member in self._members])


def load_member(folder: Path) -> Member:
    """A policy, a linear member, or several of either from folds, by its config.json.

    Raises BundleError, and DamagedError where a file has changed.
    """
    checksums.check_below(folder)
    try:
        config = read_json(folder / "config.json")
        kind = config["kind"]
        folds = int(config["folds"]) if kind == "folds" else 0
        if kind == "folds" and (config["format"] != FOLDS_FORMAT or not 2 <= folds <= MOST_FOLDS):
            raise ValueError(f"format {config['format']!r} of {folds} folds is not known")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder} holds no checkpoint ({reason_of(error)}); copy or export it again") from error
    if kind != "folds":
        return LinearMember.load(folder) if kind == "linear" else PolicyMember(folder)
    members = [load_member(each) for each in fold_folders(folder, folds)]
    if any(tuple(member.classes) != tuple(members[0].classes) for member in members):
        raise BundleError(f"{folder} has folds with other classes than each other; copy or export it again")
    return FoldsMember(members)


@torch.no_grad()
def predict(
    policy: ReadingPolicy,
    part: EncodedPart,
    threshold: float | None = None,
    cost: float | None = None,
    costs: Costs | None = None,
) -> Predictions:
    """What the policy says of every row after every segment; ``cost`` of a READ, for a conditioned policy; ``costs`` of
    wrong answers, for one that answers above a threshold."""
    device = next(policy.parameters()).device
    longest = int(part.n_segments.max(initial=1))
    probabilities = np.empty((len(part), longest, policy.shape.classes), dtype=np.float32)
    answer = np.empty((len(part), longest), dtype=np.float32)
    lengths = part.lengths
    order = np.argsort(lengths, kind="stable")
    for rows in _chunks(order, lengths, part.unit):
        most = int(part.n_segments[rows].max())
        output = policy(torch.from_numpy(part.tokens[rows, :most]).to(device), cost)
        probabilities[rows, :most], answer[rows, :most] = probabilities_of(output)
    return finished(probabilities, answer, part.n_segments, threshold, costs)


def _chunks(order: Ints, lengths: Ints, unit: int) -> Iterator[Ints]:
    """CHUNK rows of at most CHUNK_TOKENS tokens; of longer ones fewer: attention's memory grows with the square."""
    begin = 0
    while begin < len(order):
        longest = int(lengths[order[min(begin + CHUNK, len(order)) - 1]]) * unit
        size = max(1, CHUNK * CHUNK_TOKENS**2 // max(longest, CHUNK_TOKENS) ** 2)
        yield order[begin : begin + size]
        begin += size


def probabilities_of(output: PolicyOutput) -> tuple[Floats, Floats]:
    """Of the labels, (…, K), and of answering against READ, (…): what an episode of training chooses by first.

    Whether labels are then sampled or the best one is given, evaluation gives the best one.
    """
    return output.label_logits.softmax(-1).cpu().numpy(), torch.sigmoid(-output.read_logits).cpu().numpy()


def finished(
    probabilities: Floats, answer: Floats, n_segments: Ints, threshold: float | None, costs: Costs | None = None
) -> Predictions:
    """Predictions whose last segment is repeated to the end, where every text is answered."""
    steps = np.arange(probabilities.shape[1])[None, :]
    last = np.minimum(steps, n_segments[:, None] - 1)
    probabilities = np.take_along_axis(probabilities, last[:, :, None], axis=1)
    if threshold is not None:
        return answer_above(probabilities, n_segments, threshold, costs)
    return Predictions(probabilities, np.where(steps >= n_segments[:, None] - 1, np.float32(1), answer), n_segments)

"""Distillation: one small policy that says after every segment what an ensemble says (Hinton, Vinyals & Dean 2015).

It learns from the ensemble's probabilities of the texts of warm and policy, and of texts without labels where there are
some; it sees no label but those of valid, at which its threshold is fitted. The ensemble has been trained on warm and
policy, so that it is surer of them than of other texts; a temperature above 1 softens what it says, and texts without
labels, which it says the truth of, are better still. Under folds it is asked out of fold: each row is said by the
policies that have not seen it.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.ensemble import Ensemble
from sweepstack.ensembles.members.library import Library, Member
from sweepstack.ensembles.scoring.bootstrap import numbered
from sweepstack.ensembles.scoring.temperature import logs, normalised
from sweepstack.models import checksums
from sweepstack.models.data.labelled import FITTED, OUT_OF_FOLD, Dataset
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import as_json
from sweepstack.models.predictions.probabilities import (
    Floats,
    Ints,
    Predictions,
    fit_threshold,
    one_after_another,
    thresholds_over,
)
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings

if TYPE_CHECKING:
    from sweepstack.models.data.encoding import EncodedPart
    from sweepstack.models.networks.policy import ReadingPolicy

STUDENT = "student"
HELD_OUT = 10  # under folds one unit of rows in so many fits the threshold, and is not learned from


@dataclass(frozen=True)
class StudentJob:
    """How a student is trained: its shape is ``settings.model``, and it descends as ``settings.train.warm_start``."""

    settings: TrialSettings
    folder: Path  # named by a hash of all that it depends on
    members: tuple[Member, ...]  # the library that ``teacher`` counts in
    teacher: Combination
    texts: tuple[str, ...] = ()  # without labels
    temperature: float = 1.0  # of what the teacher says

    @property
    def member(self) -> Member:
        return Member(STUDENT, "refit", self.folder)

    @property
    def marker(self) -> Path:
        return self.folder / "done"


def train_student(job: StudentJob, dataset: Dataset) -> None:
    """Fills ``job.folder`` as a trial's: ``checkpoint/``, ``predictions/``, and ``done`` last. Where it was killed it
    begins anew; raises TrainingError where the loss is not a number."""
    if job.marker.exists():
        return
    from sweepstack.models.data.encoding import EncodedPart
    from sweepstack.models.data.segmenter import TextReader
    from sweepstack.models.predictions.costs import Costs
    from sweepstack.models.tasks.classification.checkpoint import finished, predict, save_policy

    shutil.rmtree(job.folder, ignore_errors=True)
    texts, said = lesson(job, dataset)
    reader = TextReader.fit(texts[: len(texts) - len(job.texts)], job.settings.reading, dataset.text)
    encoded = reader.encode(texts)
    part = EncodedPart(encoded.tokens, encoded.n_segments, None)
    costs = Costs(job.settings.read_cost, dataset.costs)
    held, labels = held_out(dataset)
    learned = np.setdiff1d(np.arange(len(texts)), held)
    policy = _trained(
        job, dataset, reader.to_json(), part.rows(learned), aligned(said.rows(learned), part.rows(learned))
    )
    if dataset.folds:
        fitted = predict(policy, part.rows(held))
    else:
        valid = reader.encode(dataset.parts["valid"].inputs)
        fitted = predict(policy, EncodedPart(valid.tokens, valid.n_segments, None))
    threshold = fit_threshold(fitted.probabilities, fitted.n_segments, labels, costs)
    thresholds = thresholds_over(policy.reading.interval, fitted.probabilities, fitted.n_segments, labels, costs)
    for name in (OUT_OF_FOLD, "valid", "blend", "test"):
        if name in dataset.parts:
            own = reader.encode(dataset.parts[name].inputs)
            raw = predict(policy, EncodedPart(own.tokens, own.n_segments, None))
            answers = finished(raw.probabilities, raw.answer, raw.n_segments, threshold, costs)
            answers.save(job.member.predictions(name), dataset.hashes[name])
    save_policy(
        job.member.checkpoint, policy, dataset.classes, reader.to_json(), threshold, thresholds, matrix=dataset.costs
    )
    checksums.put(job.folder, {job.marker.name: as_json({"texts": len(learned)})})


def lesson(job: StudentJob, dataset: Dataset) -> tuple[list[str], Predictions]:
    """The texts to learn from, those without labels last, and what the teacher says of each."""
    from sweepstack.models.tasks.classification.checkpoint import load_member

    texts = list(job.texts)
    if dataset.folds:
        library = Library.load(job.members, OUT_OF_FOLD, dataset.hashes[OUT_OF_FOLD])
        said = [job.teacher.predict(library.stack)]
        texts = [*dataset.parts[OUT_OF_FOLD].inputs, *texts]
        asked = list(job.texts)
    else:
        said, texts = [], [*(text for name in FITTED for text in dataset.parts[name].inputs), *texts]
        asked = texts
    if asked:
        members = tuple(load_member(job.members[place].checkpoint) for place in job.teacher.members)
        said += list(Ensemble(members, job.teacher).read(asked))
    return texts, one_after_another(said)


def aligned(said: Predictions, part: "EncodedPart") -> Predictions:
    """What the teacher says, for texts that the student may cut into another number of segments."""
    at = np.minimum(np.arange(int(part.n_segments.max(initial=1))), said.answer.shape[1] - 1)
    return Predictions(said.probabilities[:, at], said.answer[:, at], part.n_segments)


def softened(probabilities: Floats, temperature: float) -> Floats:
    """p^(1/T), normalised."""
    return probabilities if temperature == 1 else normalised(logs(probabilities) / np.float32(temperature))


def digest_of(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def held_out(dataset: Dataset) -> tuple[Ints, Ints]:
    """The rows that are not learned from, with all that belong to them, and the labels that the threshold is fitted
    on."""
    if not dataset.folds:
        return np.empty(0, dtype=np.int64), dataset.parts["valid"].labels
    part = dataset.parts[OUT_OF_FOLD]
    held = np.flatnonzero(numbered(part.units) % HELD_OUT == 0)
    return held, part.labels[held]


def _trained(job: StudentJob, dataset: Dataset, reader: str, part: "EncodedPart", said: Predictions) -> "ReadingPolicy":
    """Cross-entropy with the teacher's probabilities after every segment, averaged over each text's segments."""
    import torch

    from sweepstack.models.data.encoding import TaskData
    from sweepstack.models.optim.batching import batches_by_length
    from sweepstack.models.optim.optimizers import end_epoch, make_optimizer, set_lr, to_evaluation
    from sweepstack.models.optim.schedules import lr_factors, scaled_lr
    from sweepstack.models.tasks.classification.checkpoint import new_policy
    from sweepstack.models.training.supervised import seeded, steps_in

    start = job.settings.train.warm_start
    data = TaskData(dataset.classes, reader, {"warm": part}, {}, costs=dataset.costs)
    policy = new_policy(job.settings, data, derive_seed(start.seed, STUDENT))
    device = next(policy.parameters()).device
    targets = softened(said.probabilities, job.temperature)
    optimizer = make_optimizer(start, dict(policy.named_parameters()), supervised=True)
    steps = start.epochs * steps_in(len(part), start.batch_size)
    lr = iter((scaled_lr(start, start.batch_size) * lr_factors(start, steps, start.epochs)).tolist())
    for epoch in range(start.epochs):
        seed, total = derive_seed(start.seed, STUDENT, epoch), torch.zeros((), device=device)
        policy.train()
        with seeded(seed, device):
            for rows in batches_by_length(part.n_segments, start.batch_size, seed):
                longest = int(part.n_segments[rows].max())
                n_segments = torch.from_numpy(part.n_segments[rows]).to(device)
                wanted = torch.from_numpy(targets[rows, :longest]).to(device)  # (B, S, K)
                output = policy(torch.from_numpy(part.tokens[rows, :longest]).to(device))
                losses = -(wanted * output.label_logits.log_softmax(-1)).sum(-1)
                there = torch.arange(longest, device=device) < n_segments[:, None]
                loss = ((losses * there).sum(1) / n_segments).mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                if start.max_grad_norm is not None:
                    torch.nn.utils.clip_grad_norm_(policy.parameters(), start.max_grad_norm)
                set_lr(optimizer, next(lr))
                optimizer.step()
                total += loss.detach() * len(rows)
        end_epoch(optimizer)
        if not bool(torch.isfinite(total)):
            raise TrainingError("the loss of the student is not a number; lower train.warm_start.lr")
    to_evaluation(optimizer)
    policy.precision = "float32"
    return policy.eval()

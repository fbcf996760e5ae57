"""BLEU against average lagging, English to Chinese: wait-k beside policies that learned when to read, from one start.

    python studies/benchmarks/simultaneous.py TRAIN.jsonl TEST.jsonl [STARTS]

All translate with the same weights, which were trained by paths drawn at random for 20 epochs; STARTS is a folder where
they are looked for and kept, that of a run of studies/simultaneous_en_zh.yaml say. ``lead`` is the rule that learning
begins with, a wait-k whose k need not be whole; learned policies differ by what a word of lagging costs. Figures are of
test, one thread; in brackets stands the BLEU of wait-k as far behind, on a line between its neighbours.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.data.pairs import encode_pairs, load_pairs
from sweepstack.models.predictions.text_metrics import corpus_scores
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.tasks import with_study_defaults
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.tasks.writing.checkpoint import load_writer, load_writing_member
from sweepstack.models.tasks.writing.simultaneous import SimultaneousWriter, read_and_written, waits
from sweepstack.models.tasks.writing.supervised import ensure_writing_start, writing_precision

WAITS = {"wait-1": 1, "wait-2": 2, "wait-3": 3, "wait-5": 5, "everything": 10_000}
LEADS = (0.75, 1.0, 1.5, 3.0)
COSTS = (0.003, 0.01, 0.03)
SPLITS = {"policy": 0.1, "valid": 0.05, "blend": 0.05}
EPOCHS = 4


def main() -> None:
    torch.set_num_threads(1)
    train, test, *rest = sys.argv[1:]
    settings = TrialSettings.model_validate(
        {
            "task": "translation",
            "device": "cpu",
            "reading": {"segment": 1, "max_segments": 40},
            "writing": {"max_source": 48, "max_target": 48},
            "train": {"warm_start": {"epochs": 20}, "epochs": EPOCHS},
        }
    )
    assert settings.writing is not None
    study = with_study_defaults({"task": settings.task, "data": {"train": train, "test": test, "splits": SPLITS}})
    dataset = load_pairs(Data.model_validate(study["data"]), settings.task, settings.writing, settings.reading)
    data, part = encode_pairs(dataset, settings.writing), dataset.parts["test"]
    tokenizers = Tokenizers.from_json(data.tokenizers)
    by_rule: list[tuple[float, float]] = []  # lagging and BLEU of wait-k

    def said(name: str, candidates: Candidates, seconds: float) -> tuple[float, float]:
        assert candidates.lagging is not None
        scores = corpus_scores(candidates.best, part.references, data.language)
        lagging, beside = sum(candidates.lagging) / len(candidates), ""
        if name not in WAITS:
            beside = f" ({np.interp(lagging, *zip(*by_rule, strict=True)):.1f})"
        figures = f"AL {lagging:.2f}  BLEU {scores['bleu']:.1f}{beside}  chrF {scores['chrf']:.1f}"
        print(f"{name:<12} {figures}  {seconds:.0f} s", flush=True)
        return lagging, scores["bleu"]

    with tempfile.TemporaryDirectory() as folder:
        root, began = Path(folder), time.perf_counter()
        starts = Path(rest[0]) if rest else root
        settings = writing_precision(settings, data, starts)
        start = ensure_writing_start(settings, data, starts)
        print(f"start, {settings.precision}: {time.perf_counter() - began:.0f} s", flush=True)
        writer, _ = load_writer(start, torch.device("cpu"))
        assert isinstance(writer, SimultaneousWriter)
        for name, k in WAITS.items():
            began = time.perf_counter()
            found = read_and_written(writer, tokenizers, part.inputs, waits(k))
            by_rule.append(said(name, found, time.perf_counter() - began))
        for lead in LEADS:
            began = time.perf_counter()
            writer.lead(lead)
            found = read_and_written(writer, tokenizers, part.inputs, writer.chooses())
            said(f"lead {lead:g}", found, time.perf_counter() - began)
        for cost in COSTS:
            began = time.perf_counter()
            trial = new_trainer(settings.with_values({"reading.cost": cost}), data, starts, root / f"{cost}", "reward")
            for _ in range(EPOCHS):
                trial.step()
            seconds = time.perf_counter() - began
            member = load_writing_member(root / f"{cost}" / "checkpoint", "cpu")
            said(f"cost {cost:g}", member.write(part.inputs), seconds)


if __name__ == "__main__":
    main()

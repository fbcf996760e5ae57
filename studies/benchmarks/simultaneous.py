"""BLEU against average lagging, English to Chinese: wait-k beside policies that learned when to read, from one start.

    python studies/benchmarks/simultaneous.py TRAIN.jsonl TEST.jsonl [EPOCHS]

All translate with the same weights, which were trained by paths drawn at random for EPOCHS (24) epochs; a learned
policy differs by what a word of lagging costs. Figures are of test, the reward is chrF of a sentence, one thread.

It has not been run at 24 epochs. With a smaller translator (one layer of 128, 14 epochs; valid, 5% of the pairs, one
seed): BLEU 23.5 at .72 words behind for wait-1, 25.9 at 1.58 for wait-2, 24.9 at 2.23 for wait-3, 26.6 at 3.33 for
wait-5; a policy to which a word costs .03, two epochs on, 22.5 at .66. It had learned to hurry, and was no better than
wait-1.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from sweepstack.models.bpe import Tokenizers
from sweepstack.models.candidates import Candidates
from sweepstack.models.data_settings import Data
from sweepstack.models.pairs import encode_pairs, load_pairs
from sweepstack.models.settings import TrialSettings
from sweepstack.models.simultaneous import SimultaneousWriter, read_and_written, waits
from sweepstack.models.task_settings import with_study_defaults
from sweepstack.models.text_metrics import corpus_scores
from sweepstack.models.trainer import Trainer
from sweepstack.models.writer_checkpoint import load_writer, load_writing_member
from sweepstack.models.writing_supervised import ensure_writing_start, writing_precision

WAITS = {"wait-1": 1, "wait-2": 2, "wait-3": 3, "wait-5": 5, "everything": 10_000}
COSTS = (0.003, 0.01, 0.03)
SPLITS = {"policy": 0.1, "valid": 0.05, "blend": 0.05}


def main() -> None:
    torch.set_num_threads(1)
    train, test, *rest = sys.argv[1:]
    epochs = int(rest[0]) if rest else 24
    settings = TrialSettings.model_validate(
        {
            "task": "translation",
            "device": "cpu",
            "reading": {"segment": 1, "max_segments": 40},
            "writing": {"max_source": 48, "max_target": 48},
            "train": {"warm_start": {"epochs": epochs}, "epochs": 3},
        }
    )
    assert settings.writing is not None
    study = with_study_defaults({"task": settings.task, "data": {"train": train, "test": test, "splits": SPLITS}})
    dataset = load_pairs(Data.model_validate(study["data"]), settings.task)
    data, part = encode_pairs(dataset, settings.writing), dataset.parts["test"]
    tokenizers = Tokenizers.from_json(data.tokenizers)

    def said(name: str, candidates: Candidates, seconds: float) -> None:
        assert candidates.lagging is not None
        scores = corpus_scores(candidates.best, part.references, data.language)
        lagging = sum(candidates.lagging) / len(candidates)
        print(
            f"{name:<12} BLEU {scores['bleu']:.1f}  chrF {scores['chrf']:.1f}  AL {lagging:.2f}  {seconds:.0f} s",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as folder:
        root, began = Path(folder), time.perf_counter()
        settings = writing_precision(settings, data, root)
        start = ensure_writing_start(settings, data, root)
        print(f"start, {epochs} epochs, {settings.precision}: {time.perf_counter() - began:.0f} s", flush=True)
        writer, _ = load_writer(start, torch.device("cpu"))
        assert isinstance(writer, SimultaneousWriter)
        for name, k in WAITS.items():
            began = time.perf_counter()
            said(name, read_and_written(writer, tokenizers, part.inputs, waits(k)), time.perf_counter() - began)
        for cost in COSTS:
            began = time.perf_counter()
            trial = Trainer(settings.with_values({"reading.cost": cost}), data, root, root / f"{cost}", "reward")
            for _ in range(settings.train.epochs):
                trial.step()
            seconds = time.perf_counter() - began
            member = load_writing_member(root / f"{cost}" / "checkpoint", "cpu")
            said(f"cost {cost:g}", member.write(part.inputs), seconds)


if __name__ == "__main__":
    main()

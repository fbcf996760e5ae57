"""How good a writer's supervised start is, and how fast: English to Chinese, interface texts of LibreOffice.

    python studies/benchmarks/translation_start.py TRAIN.jsonl TEST.jsonl

BLEU and chrF of beam search on test, and the tokens that training takes in a second, of the defaults of a translation
study on one thread: seven minutes. Measured, one seed, in bfloat16: 43.6 and 40.5 on test, 399 s. Epochs, dropout
and the shares of the parts were chosen on valid and blend among three settings that differ in several of them at a
time. A trial build of this recipe came to 41.3 and 37.3; the translation memory to 34.7 and 32.9.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from sweepstack.models.data.pairs import encode_pairs, load_pairs
from sweepstack.models.files import read_json
from sweepstack.models.predictions.text_metrics import corpus_scores
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.tasks import with_study_defaults
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.writing.checkpoint import WriterMember
from sweepstack.models.tasks.writing.supervised import ensure_writing_start, lengths_of, targets_of, writing_precision
from sweepstack.models.training.warm_starts import START_FILE


def main() -> None:
    torch.set_num_threads(1)
    train, test = sys.argv[1:]
    settings = TrialSettings.model_validate({"task": "translation", "device": "cpu"})
    assert settings.writing is not None
    study = with_study_defaults({"task": settings.task, "data": {"train": train, "test": test}})
    dataset = load_pairs(Data.model_validate(study["data"]), settings.task, settings.writing, settings.reading)
    data = encode_pairs(dataset, settings.writing)
    warm = data.parts["warm"]
    tokens = int(lengths_of(warm.sources).sum() + lengths_of(targets_of(warm)).sum())
    with tempfile.TemporaryDirectory() as folder:
        settings = writing_precision(settings, data, Path(folder))
        start = ensure_writing_start(settings, data, Path(folder))
        seconds = read_json(start / START_FILE)["seconds"]
        speed = tokens * settings.train.warm_start.epochs / seconds
        print(f"{len(warm):,} warm rows, {settings.precision}: {seconds:.0f} s, {speed:,.0f} tokens/s")
        member = WriterMember(start, "cpu")
        for name in ("valid", "test"):
            part = dataset.parts[name]
            began = time.perf_counter()
            scores = corpus_scores(member.write(part.inputs).best, part.references, data.language)
            took = time.perf_counter() - began
            found = f"BLEU {scores['bleu']:.1f}, chrF {scores['chrf']:.1f}"
            print(f"{name} n = {len(part.inputs):,}: {found}, decoded in {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()

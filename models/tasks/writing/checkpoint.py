"""Trained writers on disk: ``weights.safetensors``, ``config.json`` and ``tokenizer.json`` (of both sides); no pickle.

A checkpoint is whole in itself: :func:`load_writing_member` needs nothing else to write texts.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from sweepstack.models import checksums
from sweepstack.models.data.bpe import BEGIN, PADDING, UNKNOWN, Tokenizers
from sweepstack.models.errors import BundleError
from sweepstack.models.files import as_json, read_json, reason_of
from sweepstack.models.networks.decoding import WriterTokens, written
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.writer import Shape, Writer
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.trial import Model, Reading
from sweepstack.models.settings.writing import Decode
from sweepstack.models.tasks.writing.simultaneous import SimultaneousWriter, read_and_written

FORMAT = 1
SCORED = 64  # texts scored at a time
WRITER, SIMULTANEOUS = "writer", "simultaneous"
KINDS = (WRITER, SIMULTANEOUS)  # the second writes while it reads


class WritingMember(Protocol):
    """What can be a member of an ensemble that writes."""

    def write(self, texts: Sequence[str], n: int = 1) -> Candidates:
        """At most ``n`` distinct texts for each, best first."""
        ...


def save_writer(folder: Path, writer: Writer, tokenizers: str, decode: Decode, language: str) -> None:
    """``tokenizers``: their JSON; ``decode``: how its texts are found; ``language``: that it writes."""
    config = {
        "format": FORMAT,
        "kind": WRITER,
        "shape": asdict(writer.shape),
        "model": writer.model.model_dump(),
        "decode": decode.model_dump(),
        "language": language,
    }
    if isinstance(writer, SimultaneousWriter):
        config |= {"kind": SIMULTANEOUS, "reading": writer.reading.model_dump(), "wait": writer.wait}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in writer.state_dict().items()}
    files: dict[str, str | bytes] = {
        "tokenizer.json": tokenizers,
        "config.json": as_json(config),
        "weights.safetensors": save(weights),
    }
    checksums.put(folder, files)


def load_writer(folder: Path, device: torch.device) -> tuple[Writer, dict[str, Any]]:
    """The writer, evaluating, and its config; raises BundleError where ``folder`` holds none, DamagedError where
    one of its files has changed."""
    checksums.check_below(folder)
    try:
        config = read_json(folder / "config.json")
        if config["format"] != FORMAT or config["kind"] not in KINDS:
            raise ValueError(f"format {config['format']!r} of kind {config['kind']!r} is not known")
        shape, model = Shape(**config["shape"]), Model.model_validate(config["model"])
        if config["kind"] == WRITER:
            writer = Writer(shape, model)
        else:
            writer = SimultaneousWriter(shape, model, Reading.model_validate(config["reading"]))
            writer.wait = None if config["wait"] is None else int(config["wait"])
        writer.load_state_dict(load_file(folder / "weights.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{folder} holds no writer that can be loaded ({reason_of(error)}); copy or export it again"
        ) from error
    return writer.to(device).eval(), config


class WriterMember:
    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.writer, config = load_writer(folder, pick_device(device))
        try:
            self.tokenizers = Tokenizers.from_json((folder / "tokenizer.json").read_text(encoding="utf-8"))
            self.decode = Decode.model_validate(config["decode"])
            self.language = str(config["language"])
            sizes = self.tokenizers.source.vocab_size, self.tokenizers.target.vocab_size
            if sizes != (self.writer.shape.source_vocab, self.writer.shape.target_vocab):
                raise ValueError(f"tokenizer.json has {sizes[0]} and {sizes[1]} entries, which the weights do not fit")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{folder} holds no writer that can be loaded ({reason_of(error)}); copy or export it again"
            ) from error

    def write(self, texts: Sequence[str], n: int = 1) -> Candidates:
        """By its own beam search, whose beam is widened to ``n``."""
        decode = self.decode.model_copy(update={"beam": max(self.decode.beam, n), "candidates": n})
        return written(WriterTokens(self.writer), self.tokenizers, texts, decode)


class SimultaneousMember(WriterMember):
    """A writer that translates while it reads: greedily, so it has one text for each."""

    def write(self, texts: Sequence[str], n: int = 1) -> Candidates:
        assert isinstance(self.writer, SimultaneousWriter)
        return read_and_written(self.writer, self.tokenizers, texts, self.writer.chooses())


def load_writing_member(folder: Path, device: str = "auto") -> WritingMember:
    """A writer or a translation memory, by its config.json; raises BundleError."""
    try:
        kind = read_json(folder / "config.json")["kind"]
        if kind not in (*KINDS, "memory"):
            raise ValueError(f"a checkpoint of kind {kind!r} writes nothing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder} holds nothing that writes ({reason_of(error)}); copy or export it again"
        ) from error
    if kind in KINDS:
        return WriterMember(folder, device) if kind == WRITER else SimultaneousMember(folder, device)
    from sweepstack.models.baselines.translation_memory import (
        TranslationMemory,  # brings scikit-learn, which a writer needs not
    )

    return TranslationMemory.load(folder)


def tokenizers_digest(folder: Path) -> str | None:
    """Of a writer's checkpoint, without its weights; None of one that has no tokens. Raises BundleError."""
    try:
        if read_json(folder / "config.json")["kind"] not in KINDS:
            return None
        return Tokenizers.from_json((folder / "tokenizer.json").read_text(encoding="utf-8")).digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder} holds no checkpoint ({reason_of(error)}); copy or export it again") from error


@torch.no_grad()
def score(writer: Writer, tokenizers: Tokenizers, sources: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
    """(rows,): the mean log-probability of a token of each text, END's included, given its source.

    Texts longer than what can be written are scored as far as that; characters that the writer does not have count for
    nothing.
    """
    device, shape = writer.positions.device, writer.shape
    read = torch.from_numpy(tokenizers.encode_sources(sources, shape.max_source))
    scored = torch.from_numpy(tokenizers.encode_targets(texts, shape.max_target)).long()
    lengths = (scored != PADDING).sum(1)
    scores = np.empty(len(texts))
    for rows in torch.split(lengths.argsort(stable=True), SCORED) if len(texts) else ():
        targets = scored[rows, : int(lengths[rows].max())].to(device)  # (B, T)
        longest = int((read[rows] != PADDING).sum(1).max())
        memory = writer.encode(read[rows, :longest].to(device))
        shifted = torch.cat([torch.full_like(targets[:, :1], BEGIN), targets[:, :-1]], dim=1)
        log_probs = writer.logits(writer.states(memory, shifted)).log_softmax(-1)  # (B, T, V)
        there = (targets != PADDING) & (targets != UNKNOWN)
        own = log_probs.gather(2, targets[..., None]).squeeze(2) * there
        scores[rows.numpy()] = (own.sum(1).double() / there.sum(1)).cpu().numpy()
    return scores

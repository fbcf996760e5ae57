"""A writer that reads while it writes sees no segment before it is read, and with all of them it is a writer."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sweepstack.models.data.bpe import BEGIN, END, Tokenizers
from sweepstack.models.networks.decoding import WriterTokens, greedy
from sweepstack.models.networks.writer import Shape
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.trial import Model, Reading
from sweepstack.models.tasks.writing.lagging import wait_k
from sweepstack.models.tasks.writing.simultaneous import (
    FEATURES,
    SimultaneousWriter,
    read_and_written,
    translate,
    waits,
)

TEXTS = ["one two three four", "four one", "two", "three three one two four"]


@pytest.fixture
def tokenizers(writing: SimpleNamespace) -> Tokenizers:
    return Tokenizers.from_json(writing.data.tokenizers)


def make(tokenizers: Tokenizers, segment: int = 1, most: int = 8) -> SimultaneousWriter:
    shape = Shape(tokenizers.source.vocab_size, tokenizers.target.vocab_size, False, 12, 8)
    model = Model(d_model=12, layers=2, heads=3, feed_forward=20, dropout=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        writer = SimultaneousWriter(shape, model, Reading(segment=segment, max_segments=most))
        for parameter in writer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    writer.know(tokenizers)
    return writer.eval()


def sources(tokenizers: Tokenizers, texts: list[str]) -> torch.Tensor:
    return torch.from_numpy(tokenizers.encode_sources(texts, 12))


@pytest.mark.parametrize("segment", [1, 2])
def test_what_is_not_read_yet_changes_nothing(tokenizers: Tokenizers, segment: int) -> None:
    """The states after g segments are those of a source that ends there."""
    writer, targets = make(tokenizers, segment), torch.tensor([[BEGIN, 4, 5, 6]])
    whole = writer.encode(sources(tokenizers, ["one two three four"]))
    for words in (segment, 2 * segment):
        begun = writer.encode(sources(tokenizers, [" ".join(["one", "two", "three", "four"][:words])]))
        read = torch.full((1, 4), words // segment)
        torch.testing.assert_close(writer.along(whole, targets, read), writer.states(begun, targets), atol=1e-5, rtol=0)
    assert (writer.along(whole, targets, torch.ones(1, 4)) - writer.states(whole, targets)).abs().max() > 0.01


def test_with_everything_read_first_it_writes_as_any_writer_does(tokenizers: Tokenizers) -> None:
    writer, read = make(tokenizers), sources(tokenizers, TEXTS)
    usual = greedy(WriterTokens(writer), read, 8)
    made = translate(writer, writer.encode(read), 8, waits(99))
    assert made.tokens.tolist() == usual.tokens[:, 0].tolist()
    torch.testing.assert_close(made.log_probs, usual.scores(1.0)[:, 0], atol=1e-5, rtol=0)
    assert made.lagging.sum(1).tolist() == [4, 2, 1, 5]  # as many words as there are


@pytest.mark.parametrize("k", [1, 2])
def test_what_is_written_step_by_step_is_the_likeliest_along_its_path(tokenizers: Tokenizers, k: int) -> None:
    writer = make(tokenizers)
    memory = writer.encode(sources(tokenizers, TEXTS))
    made = translate(writer, memory, 8, waits(k))
    inputs = torch.cat([torch.full((4, 1), BEGIN), made.tokens[:, :-1]], dim=1)
    path = wait_k(torch.full((4,), k), inputs.shape[1], memory.count)
    there, ends = made.tokens > 0, made.tokens == END
    assert (made.read == path)[there & ~ends].all()
    assert (made.read == memory.count[:, None])[ends].all(), "before END everything is read"
    logits = writer.logits(writer.along(memory, inputs, made.read))
    assert logits.argmax(-1)[there].tolist() == made.tokens[there].tolist()


def test_a_batch_reads_and_writes_as_each_text_alone(tokenizers: Tokenizers) -> None:
    writer = make(tokenizers)
    together = read_and_written(writer, tokenizers, TEXTS, writer.chooses(), batch=3)
    for place, text in enumerate(TEXTS):
        alone, row = read_and_written(writer, tokenizers, [text], writer.chooses()), together.rows(np.array([place]))
        assert alone.best == row.best
        assert alone.lagging == pytest.approx(row.lagging)
    assert read_and_written(writer, tokenizers, [], writer.chooses()) == Candidates((), (), ())


def test_rounds_hold_every_read_and_every_token(tokenizers: Tokenizers) -> None:
    """Each token ends a turn of its text, and there are as many free READs as the path has steps."""
    writer = make(tokenizers)
    memory = writer.encode(sources(tokenizers, TEXTS))
    made = translate(writer, memory, 8, waits(2))
    assert made.observations.shape == (*made.decided.shape, FEATURES)
    assert ((made.decided & ~made.reads).sum(1) == (made.tokens > 0).sum(1)).all()
    assert not ((made.free | made.reads) & ~made.decided).any()
    last = (made.tokens > 0).sum(1) - 1
    assert made.reads.sum(1).tolist() == (made.read[torch.arange(4), last] - 1).tolist()


def test_what_stands_behind_the_last_segment_is_not_read(tokenizers: Tokenizers) -> None:
    writer = make(tokenizers, segment=1, most=2)
    memory = writer.encode(sources(tokenizers, TEXTS))
    assert memory.count.tolist() == memory.words.tolist() == [2, 2, 1, 2]
    short, long = (read_and_written(writer, tokenizers, [text], waits(9)) for text in ("one two", "one two four"))
    assert short == long


def test_before_it_learns_it_waits_for_k_and_between_two_k_for_confidence(tokenizers: Tokenizers) -> None:
    """READ's log-odds are 6 for each segment that is missing to k, less those of the next token: log 9 and log 1/3."""
    writer = make(tokenizers)
    torch.nn.init.zeros_(writer.read_head[-1].weight)
    torch.nn.init.zeros_(writer.read_head[-1].bias)
    log_probs = torch.tensor([[0.9, 0.05, 0.02, 0.02, 0.01], [0.25, 0.24, 0.22, 0.2, 0.09]]).log().repeat(3, 1)
    read = torch.tensor([1, 1, 2, 2, 3, 3])
    seen = writer.observe(log_probs, read, 1, torch.tensor([True, False] * 3))
    assert seen[:2, 5:].tolist() == [[0.25, 0.0, 1.0], [0.25, 0.0, 0.0]]
    reads = {}
    for k in (1.0, 0.5, 1.5):
        writer.lead(k)
        reads[k] = (writer.judge(seen)[0] > 0).tolist()
    assert reads[1.0] == [True, True, False, True, False, False], "at one ahead, confidence decides"
    assert reads[0.5] == waits(1)(seen, read, 1).tolist() == [True, True, False, False, False, False]
    assert reads[1.5] == waits(2)(seen, read, 1).tolist() == [True, True, True, True, False, False]
    torch.testing.assert_close(writer.judge(seen)[0][:2], torch.tensor([9.0, 9.0]) - torch.tensor([9.0, 1 / 3]).log())

"""A writer sees what it may and nothing else, and a step with a cache says what a pass over the whole text says."""

import pytest
import torch
from tiny_writer import SOURCES, make
from torch import Tensor

from sweepstack.models.data.bpe import BEGIN, PADDING, UNKNOWN
from sweepstack.models.networks.writer import NEVER, Shape, Writer, sinusoids
from sweepstack.models.settings.trial import Model

TARGETS = torch.tensor([[BEGIN, 4, 5, 6, 7], [BEGIN, 8, 3, 0, 0], [BEGIN, 9, 9, 3, 0]])


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.fixture
def writer() -> Writer:
    return make()


def test_a_row_alone_says_what_it_says_in_a_padded_batch(writer: Writer) -> None:
    together = writer.states(writer.encode(SOURCES), TARGETS)
    for row, (source, target) in enumerate([(4, 5), (2, 3), (3, 4)]):
        alone = writer.states(writer.encode(SOURCES[row : row + 1, :source]), TARGETS[row : row + 1, :target])
        close(together[row, :target], alone[0])


def test_what_comes_later_in_a_text_changes_nothing_before_it(writer: Writer) -> None:
    memory = writer.encode(SOURCES)
    other = TARGETS.clone()
    other[:, 3:] = 10
    before, after = writer.states(memory, TARGETS), writer.states(memory, other)
    close(before[:, :3], after[:, :3])
    assert (before[0, 3:] - after[0, 3:]).abs().max() > 0.01


def test_every_token_of_source_and_text_counts_and_so_does_its_place(writer: Writer) -> None:
    base = writer.states(writer.encode(SOURCES[:1]), TARGETS[:1])[0, -1]
    for changed in (torch.tensor([[5, 6, 7, 9]]), torch.tensor([[6, 5, 7, 8]])):
        assert (writer.states(writer.encode(changed), TARGETS[:1])[0, -1] - base).abs().max() > 1e-3
    swapped = torch.tensor([[BEGIN, 5, 4, 6, 7]])
    assert (writer.states(writer.encode(SOURCES[:1]), swapped)[0, -1] - base).abs().max() > 1e-3


def test_a_source_without_a_token_is_a_single_unknown_one(writer: Writer) -> None:
    memory = writer.encode(torch.tensor([[PADDING, PADDING], [UNKNOWN, PADDING]]))
    assert memory.there.tolist() == [[True, False], [True, False]]
    close(memory.states[0, 0], memory.states[1, 0])
    assert torch.isfinite(writer.states(memory, TARGETS[:2])).all()


def test_padding_unknown_and_begin_are_never_written(writer: Writer) -> None:
    logits = writer.logits(writer.states(writer.encode(SOURCES), TARGETS))
    assert logits.shape == (3, 5, 11)
    assert logits.dtype == torch.float32
    assert (logits[..., :3] == NEVER).all()
    assert (logits[..., 3:].abs() < 1e3).all()
    with torch.no_grad():
        close(writer.logits(writer.states(writer.encode(SOURCES), TARGETS)).softmax(-1), logits.softmax(-1))


def test_the_loss_pulls_at_no_entry_that_is_never_written(writer: Writer) -> None:
    logits = writer.logits(torch.randn(4, 12))
    loss = torch.nn.functional.cross_entropy(logits, torch.full((4,), 5), label_smoothing=0.1)
    loss.backward()
    gradient = writer.tokens.weight.grad
    assert gradient is not None
    assert not gradient[:3].any()
    assert (gradient[3:].abs().sum(1) > 0).all()


def test_one_vocabulary_has_one_embedding() -> None:
    own, shared = make(), make(shared=True)
    assert own.source_tokens is not None
    assert shared.source_tokens is None
    assert sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in shared.parameters()) == 11 * 12
    assert {p.data_ptr() for p in shared.encoder_parameters()}.isdisjoint({shared.tokens.weight.data_ptr()})
    assert any(p is own.source_tokens.weight for p in own.encoder_parameters())
    with pytest.raises(ValueError, match="one size, but got 11 and 12"):
        Writer(Shape(11, 12, True, 8, 8), own.model)


def test_encoder_parameters_are_those_that_encoding_learns_from(writer: Writer) -> None:
    writer.encode(SOURCES).states.square().sum().backward()
    learned = {id(p) for p in writer.parameters() if p.grad is not None}
    assert learned == {id(p) for p in writer.encoder_parameters()}


def test_a_new_writer_gives_every_state_the_value_zero() -> None:
    writer = Writer(Shape(11, 11, False, 8, 8), Model(d_model=12, heads=3))
    assert not writer.values(torch.randn(2, 3, 12)).any()


def test_dropout_is_for_training_alone(writer: Writer) -> None:
    def said() -> Tensor:
        return writer.states(writer.encode(SOURCES), TARGETS)

    torch.manual_seed(0)
    assert torch.equal(said(), said())
    writer.train()
    first = said()
    assert (first - said()).abs().max() > 0.01
    torch.manual_seed(0)
    assert torch.equal(first, said())


def test_feed_forward_is_as_wide_as_the_settings_say() -> None:
    assert make().decoder[0].feed_forward.up.weight.shape == (20, 12)  # type: ignore[union-attr]


def test_sinusoids_are_those_of_the_paper() -> None:
    got = sinusoids(3, 4)  # angles t and t/100
    t = torch.arange(3.0)
    close(got, torch.stack([t.sin(), (t / 100).sin(), t.cos(), (t / 100).cos()], dim=1))
    assert sinusoids(2, 5).shape == (2, 5)


def test_in_bfloat16_it_says_nearly_the_same_in_float32(writer: Writer) -> None:
    full = writer.logits(writer.states(writer.encode(SOURCES), TARGETS)).softmax(-1)
    writer.precision = "bfloat16"
    memory = writer.encode(SOURCES)
    states = writer.states(memory, TARGETS)
    logits = writer.logits(states)
    assert {memory.states.dtype, states.dtype, logits.dtype} == {torch.float32}
    assert 0 < (logits.softmax(-1) - full).abs().max() < 0.1
    assert (logits[..., :3] <= NEVER / 2).all()

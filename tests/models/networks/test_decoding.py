"""Decoding finds what it should: against hand-made tables, against trying every text, and against teacher forcing."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tiny_writer import SOURCES, make
from torch import Tensor

from sweepstack.models.data.bpe import BEGIN, END, PADDING, Bpe, Tokenizers
from sweepstack.models.networks.decoding import Hypotheses, WriterTokens, beam, filtered, greedy, sample, written
from sweepstack.models.networks.writer import NEVER, Shape, Writer
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.trial import Model
from sweepstack.models.settings.writing import Decode, Sample

A, B, C = 4, 5, 6
Prefix = tuple[int, ...]


class Tables:
    """A next token whose probabilities, of END, A, B and C, are looked up by the source's first id and the prefix."""

    device = torch.device("cpu")
    max_source, max_target = 8, 4

    def __init__(self, table: Callable[[int, Prefix], Sequence[float]]) -> None:
        self._table = table
        self.sizes: list[int] = []  # of the batch at every step

    def begin(self, sources: Tensor) -> list[tuple[int, Prefix]]:
        return [(int(source), ()) for source in sources[:, 0]]

    def step(self, state: list[tuple[int, Prefix]], tokens: Tensor) -> tuple[Tensor, list[tuple[int, Prefix]]]:
        assert len(tokens) == len(state)
        self.sizes.append(len(state))
        state = [(source, (*prefix, int(token))) for (source, prefix), token in zip(state, tokens, strict=True)]
        assert all(prefix[0] == BEGIN for _, prefix in state)
        rows = [self._table(source, prefix[1:]) for source, prefix in state]
        log_probs = torch.full((len(rows), 7), NEVER)
        log_probs[:, END:] = torch.tensor(rows).log().clamp(min=NEVER)
        return log_probs, state

    def select(self, state: list[tuple[int, Prefix]], rows: Tensor) -> list[tuple[int, Prefix]]:
        return [state[row] for row in rows.tolist()]


def drawn(source: int, prefix: Prefix) -> list[float]:
    """Probabilities that any prefix has of its own."""
    random = np.random.default_rng([source, len(prefix), *prefix])
    return [float(p) for p in random.dirichlet([0.7] * 4)]


def ids(*sources: int) -> Tensor:
    return torch.tensor(sources)[:, None]


def texts_of(hypotheses: Hypotheses, row: int = 0) -> list[list[int]]:
    return [[token for token in tokens if token != PADDING] for tokens in hypotheses.tokens[row].tolist()]


def every_text(source: int, most: int, penalty: float) -> list[tuple[float, list[int]]]:
    """(score, tokens) of all texts that end within ``most`` tokens, best first."""
    found = []
    for length in range(most):
        for text in itertools.product((A, B, C), repeat=length):
            tokens = [*text, END]
            log_prob = sum(math.log(drawn(source, tuple(tokens[:t]))[tokens[t] - END]) for t in range(length + 1))
            found.append((log_prob / (length + 1) ** penalty, tokens))
    return sorted(found, reverse=True)


def ends_after(source: int, prefix: Prefix) -> list[float]:
    """Writes as many A as the source says, then ends."""
    return [0.9, 0.1, 0, 0] if len(prefix) == source else [0.2, 0.5, 0.3, 0]


# Greedy takes A (.6) and then has .3 at best; B (.4) is followed by END for sure.
TRAP = {(): [0, 0.6, 0.4, 0], (A,): [0.3, 0.26, 0.24, 0.2], (B,): [1, 0, 0, 0]}


def trap(source: int, prefix: Prefix) -> list[float]:
    return TRAP.get(prefix, [1, 0, 0, 0])


def test_greedy_takes_the_likeliest_token_until_end() -> None:
    got = greedy(Tables(ends_after), ids(2, 0, 1), most=4)
    assert [texts_of(got, row) for row in range(3)] == [[[A, A, END]], [[END]], [[A, END]]]
    torch.testing.assert_close(got.log_probs, torch.tensor([[0.5 * 0.5 * 0.9], [0.9], [0.5 * 0.9]]).log())


def test_a_text_that_is_cut_has_no_end() -> None:
    got = greedy(Tables(ends_after), ids(9, 3), most=4)
    assert [texts_of(got, row) for row in range(2)] == [[[A, A, A, A]], [[A, A, A, END]]]
    torch.testing.assert_close(got.log_probs, torch.tensor([[0.5**4], [0.5**3 * 0.9]]).log())


def test_finished_rows_leave_the_batch() -> None:
    tables = Tables(ends_after)
    greedy(tables, ids(0, 1, 2, 2), most=8)
    assert tables.sizes == [4, 3, 2]
    tables = Tables(lambda source, prefix: [1, 0, 0, 0] if len(prefix) == source else [0, 1, 0, 0])
    beam(tables, ids(0, 1, 2), 8, 2, 1.0, 1)
    assert tables.sizes == [3, 4, 2]


def test_a_beam_sees_past_the_likeliest_first_token() -> None:
    assert texts_of(greedy(Tables(trap), ids(0), most=4)) == [[A, END]]
    got = beam(Tables(trap), ids(0), 4, 2, 0.0, 2)
    assert texts_of(got) == [[B, END], [A, END]]
    torch.testing.assert_close(got.log_probs, torch.tensor([[0.4, 0.6 * 0.3]]).log())


@pytest.mark.parametrize(("penalty", "best"), [(0.0, [B, END]), (1.0, [B, END]), (3.0, [A, A, END])])
def test_a_length_penalty_divides_by_a_power_of_the_length(penalty: float, best: list[int]) -> None:
    # ln .4 = -.916 over 2^α against ln .156 = -1.858 over 3^α: the longer one wins where 1.5^α > 2.03, at α > 1.75.
    got = beam(Tables(trap), ids(0), 4, 4, penalty, 1)
    assert texts_of(got) == [best]
    log_prob = math.log(0.4 if len(best) == 2 else 0.6 * 0.26)
    assert got.scores(penalty).item() == pytest.approx(log_prob / len(best) ** penalty)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
def test_a_beam_that_holds_every_text_finds_the_best_of_all(penalty: float) -> None:
    got = beam(Tables(drawn), ids(*range(6)), 4, 120, penalty, 5)
    for row in range(6):
        expected = every_text(row, 4, penalty)[:5]
        assert texts_of(got, row) == [tokens for _, tokens in expected]
        np.testing.assert_allclose(got.scores(penalty)[row], [score for score, _ in expected], rtol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(penalty: float) -> None:
    sources = ids(*range(40))
    one, best = beam(Tables(drawn), sources, 5, 1, penalty, 1), greedy(Tables(drawn), sources, 5)
    assert [texts_of(one, row) for row in range(40)] == [texts_of(best, row) for row in range(40)]
    torch.testing.assert_close(one.log_probs, best.log_probs)


def test_a_source_is_searched_as_if_it_were_alone() -> None:
    together = beam(Tables(drawn), ids(*range(20)), 6, 3, 1.0, 3)
    for row in range(20):
        alone = beam(Tables(drawn), ids(row), 6, 3, 1.0, 3)
        assert texts_of(alone) == texts_of(together, row)


def test_texts_that_ended_come_before_cut_ones() -> None:
    # A again and again is far likelier than to end: the text that is cut has the best score of all.
    got = beam(Tables(lambda source, prefix: [0.1, 0.9, 0, 0]), ids(0), 3, 4, 1.0, 4)
    assert texts_of(got) == [[A, A, END], [A, END], [END], [A, A, A]]
    assert got.scores(1.0)[0].argmax() == 3
    never = beam(Tables(lambda source, prefix: [0, 0.9, 0.1, 0]), ids(0), 3, 2, 1.0, 2)
    assert texts_of(never)[0] == [A, A, A]
    assert END not in never.tokens


def test_where_there_are_fewer_texts_than_asked_for_the_rest_is_empty() -> None:
    got = beam(Tables(lambda source, prefix: [1, 0, 0, 0]), ids(0), 3, 4, 1.0, 3)
    assert texts_of(got) == [[END], [], []]
    assert got.log_probs[0].tolist() == [0, -math.inf, -math.inf]


def test_filtered_leaves_the_likeliest_tokens() -> None:
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()

    def probabilities(**how: float) -> list[float]:
        return [round(p, 4) for p in filtered(logits, Sample(**how)).softmax(-1).tolist()]  # type: ignore[arg-type]

    assert filtered(logits, Sample()) is logits
    assert probabilities(temperature=0.5) == [0.7246, 0.1812, 0.0652, 0.029]  # squares, over .345
    assert probabilities(top_k=2) == [0.6667, 0.3333, 0, 0]
    assert probabilities(top_k=4) == probabilities(top_k=9) == [0.5, 0.25, 0.15, 0.1]
    assert probabilities(top_p=0.5) == [1, 0, 0, 0]
    assert probabilities(top_p=0.51) == [0.6667, 0.3333, 0, 0]
    assert probabilities(top_p=0.8) == [0.5556, 0.2778, 0.1667, 0]
    # Of what top_k = 3 leaves, .5556 and .2778 and .1667, two have .8 together; of all, three would be needed.
    assert probabilities(top_k=3, top_p=0.8) == [0.6667, 0.3333, 0, 0]
    # At temperature .5 the likeliest has .72 alone.
    assert probabilities(temperature=0.5, top_p=0.7) == [1, 0, 0, 0]


def test_filtering_is_by_row_in_any_order_and_gradients_pass() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.25, 0.15], [0.97, 0.01, 0.01, 0.01]]).log().requires_grad_()
    got = filtered(logits, Sample(top_p=0.7)).softmax(-1)
    torch.testing.assert_close(got, torch.tensor([[0, 2 / 3, 1 / 3, 0], [1, 0, 0, 0]]))
    got[0, 1].backward()
    torch.testing.assert_close(logits.grad[0], torch.tensor([0, 2 / 9, -2 / 9, 0]))


@pytest.mark.parametrize("how", [Sample(), Sample(temperature=1.7), Sample(top_k=2), Sample(top_p=0.6)])
def test_texts_are_drawn_as_often_as_they_are_likely(how: Sample) -> None:
    n, most = 4000, 2
    random = torch.Generator().manual_seed(3)
    got, log_probs = sample(Tables(drawn), ids(1, 5), most, how, random, n)
    for row, source in enumerate((1, 5)):
        counts: dict[Prefix, int] = {}
        for tokens in map(tuple, texts_of(got, row)):
            counts[tokens] = counts.get(tokens, 0) + 1
        total = 0.0
        for text in itertools.product((END, A, B, C), repeat=most):
            tokens = text[:1] if text[0] == END else text
            if text[0] == END and text != (END, END):
                continue
            likely = 1.0
            for t, token in enumerate(tokens):
                table = torch.tensor(drawn(source, tokens[:t])).log()
                likely *= float(filtered(table, how).softmax(-1)[token - END])
            total += likely
            assert abs(counts.get(tokens, 0) / n - likely) < 4 * math.sqrt(0.25 / n)
            assert likely > 0 or tokens not in counts
        assert total == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(log_probs.sum(-1), got.log_probs)
    assert not log_probs[got.tokens == PADDING].any()


def test_a_seed_draws_the_same_texts_again() -> None:
    def draw(seed: int) -> Tensor:
        return sample(Tables(drawn), ids(1, 2), 4, Sample(), torch.Generator().manual_seed(seed), 6)[0].tokens

    assert torch.equal(draw(1), draw(1))
    assert draw(1).shape != draw(2).shape or not torch.equal(draw(1), draw(2))


class Uncached:
    """A writer whose every step is a pass over all that was written."""

    device = torch.device("cpu")

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.max_source, self.max_target = writer.shape.max_source, writer.shape.max_target

    def begin(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        return sources, torch.zeros((len(sources), 0), dtype=torch.long)

    def step(self, state: tuple[Tensor, Tensor], tokens: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        sources, before = state
        taken = torch.cat([before, tokens[:, None]], dim=1)
        states = self._writer.states(self._writer.encode(sources), taken)[:, -1]
        return self._writer.logits(states).log_softmax(-1), (sources, taken)

    def select(self, state: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        return state[0][rows], state[1][rows]


@pytest.mark.parametrize("shared", [False, True])
def test_a_writer_decodes_with_its_cache_as_without(shared: bool) -> None:
    writer = make(shared=shared)
    for decode in (lambda of: greedy(of, SOURCES, 20), lambda of: beam(of, SOURCES, 20, 5, 1.0, 4)):
        cached, whole = decode(WriterTokens(writer)), decode(Uncached(writer))
        assert torch.equal(cached.tokens, whole.tokens)
        torch.testing.assert_close(cached.log_probs, whole.log_probs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "how", [Sample(), Sample(temperature=0.7), Sample(top_k=3), Sample(top_p=0.8), Sample(temperature=2, top_k=5)]
)
def test_log_probs_of_what_was_drawn_are_those_of_teacher_forcing(how: Sample) -> None:
    writer = make()
    got, log_probs = sample(WriterTokens(writer), SOURCES, 20, how, torch.Generator().manual_seed(0), 5)
    targets = got.tokens.flatten(0, 1)
    shifted = torch.cat([torch.full((15, 1), BEGIN), targets[:, :-1]], dim=1)
    with torch.no_grad():
        states = writer.states(writer.encode(SOURCES.repeat_interleave(5, dim=0)), shifted)
        scored = filtered(writer.logits(states), how).log_softmax(-1).gather(2, targets[..., None]).squeeze(2)
    there = targets != PADDING
    torch.testing.assert_close(log_probs.flatten(0, 1)[there], scored[there], atol=1e-5, rtol=0)


TEXTS = ["a b", "", "c a b b a", "a", "b c", "ccc"]


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    return Tokenizers(Bpe.fit(["a b c", "b a", "c c a"], 300), Bpe.fit(["x y z", "z y", "x x"], 300))


@pytest.fixture
def tokens(tokenizers: Tokenizers) -> WriterTokens:
    torch.manual_seed(0)
    shape = Shape(tokenizers.source.vocab_size, tokenizers.target.vocab_size, False, 4, 6)
    writer = Writer(shape, Model(d_model=8, heads=2))
    torch.nn.init.normal_(writer.tokens.weight, std=1.5)
    return WriterTokens(writer.eval())


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_written_keeps_the_order_of_texts_whatever_the_batch(
    tokens: WriterTokens, tokenizers: Tokenizers, batch: int
) -> None:
    got = written(tokens, tokenizers, TEXTS, Decode(beam=3, candidates=3), batch)
    assert len(got) == len(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = written(tokens, tokenizers, [text], Decode(beam=3, candidates=3))
        assert got.texts[row] == alone.texts[0]
        assert got.scores[row] == pytest.approx(alone.scores[0], abs=1e-5)


def test_written_texts_are_distinct_and_best_first(tokens: WriterTokens, tokenizers: Tokenizers) -> None:
    got = written(tokens, tokenizers, TEXTS, Decode(beam=4, candidates=3))
    for texts, scores in zip(got.texts, got.scores, strict=True):
        assert len(set(texts)) == len(texts) <= 3
        assert max(scores) <= 0
    greedily = written(tokens, tokenizers, TEXTS, Decode(beam=1, candidates=1))
    assert {len(texts) for texts in greedily.texts} == {1}


def test_a_source_longer_than_is_read_is_cut(tokens: WriterTokens, tokenizers: Tokenizers) -> None:
    sources = torch.tensor([tokenizers.source.encode("a b c a b c a b c")])
    assert sources.shape[1] > tokens.max_source
    got = written(tokens, tokenizers, ["a b c a b c a b c"], Decode(beam=2, candidates=1))
    best = beam(tokens, sources[:, : tokens.max_source], tokens.max_target, 2, 1.0, 1)
    assert got.scores[0][0] == pytest.approx(best.scores(1.0).item())


def test_nothing_is_written_for_no_texts(tokens: WriterTokens, tokenizers: Tokenizers) -> None:
    assert written(tokens, tokenizers, [], Decode()) == Candidates((), ())


def test_texts_that_read_the_same_are_one() -> None:
    both = Tokenizers.fit([], ["字文", "字文"], 300)
    (joint,), (a, b) = both.target.encode("字文"), both.target.encode("文字")[::-1]
    v = both.target.vocab_size

    class Two(Tables):
        """字文 as one token (.5) or as two (.4), or 文 alone (.1)."""

        def step(self, state: list[tuple[int, Prefix]], tokens: Tensor) -> tuple[Tensor, list[tuple[int, Prefix]]]:
            state = [(source, (*prefix, int(token))) for (source, prefix), token in zip(state, tokens, strict=True)]
            log_probs = torch.full((len(state), v), NEVER)
            for row, (_, prefix) in enumerate(state):
                if len(prefix) == 1:
                    log_probs[row, [joint, a, b]] = torch.tensor([0.5, 0.4, 0.1]).log()
                else:
                    log_probs[row, b if prefix[1:] == (a,) else END] = 0
            return log_probs, state

    got = written(Two(drawn), both, ["字"], Decode(beam=3, candidates=3, length_penalty=0.0))
    assert got.texts == (("字文", "文"),)
    assert got.scores[0] == pytest.approx((math.log(0.5), math.log(0.1)))

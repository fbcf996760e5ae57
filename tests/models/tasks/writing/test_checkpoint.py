"""A writer that was saved writes the same; what is damaged is refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sweepstack.models.data.bpe import END, Bpe, Tokenizers
from sweepstack.models.errors import BundleError
from sweepstack.models.networks.decoding import WriterTokens, written
from sweepstack.models.networks.writer import Shape, Writer
from sweepstack.models.settings.trial import Model
from sweepstack.models.settings.writing import Decode
from sweepstack.models.tasks.writing.checkpoint import (
    WriterMember,
    load_writer,
    load_writing_member,
    save_writer,
    score,
    tokenizers_digest,
)

SOURCES = ["a b c", "c", "b a", ""]
TEXTS = ["x y", "z z x", "", "y"]
DECODE = Decode(beam=2, candidates=2, length_penalty=0.7)


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    return Tokenizers(Bpe.fit(["a b c", "b a", "c c a"], 300), Bpe.fit(["x y z", "z y", "x x"], 300))


def make(tokenizers: Tokenizers, shared: bool = False) -> Writer:
    torch.manual_seed(0)
    target = tokenizers.target.vocab_size
    writer = Writer(Shape(target if shared else tokenizers.source.vocab_size, target, shared, 6, 5), Model(d_model=8))
    torch.nn.init.normal_(writer.tokens.weight, std=1.5)
    return writer.eval()


@pytest.fixture
def writer(tokenizers: Tokenizers) -> Writer:
    return make(tokenizers)


@pytest.fixture
def folder(writer: Writer, tokenizers: Tokenizers, tmp_path: Path) -> Path:
    save_writer(tmp_path / "checkpoint", writer, tokenizers.to_json(), DECODE, "zh")
    return tmp_path / "checkpoint"


def test_a_member_writes_as_the_writer_that_was_saved(folder: Path, writer: Writer, tokenizers: Tokenizers) -> None:
    member = load_writing_member(folder, "cpu")
    assert isinstance(member, WriterMember)
    assert (member.language, member.decode) == ("zh", DECODE)
    assert member.tokenizers.digest == tokenizers.digest == tokenizers_digest(folder)
    expected = written(WriterTokens(writer), tokenizers, SOURCES, DECODE)
    got = member.write(SOURCES, 2)
    assert got.texts == expected.texts
    np.testing.assert_array_equal(got.scores, expected.scores)
    assert member.write(SOURCES).texts == tuple(row[:1] for row in expected.texts)


def test_more_texts_than_the_beam_widen_it(folder: Path, writer: Writer, tokenizers: Tokenizers) -> None:
    got = WriterMember(folder).write(SOURCES, 6)
    wide = Decode(beam=6, candidates=6, length_penalty=0.7)
    assert got == written(WriterTokens(writer), tokenizers, SOURCES, wide)
    assert max(map(len, got.texts)) > 2


def test_an_embedding_of_both_sides_is_stored_once(tokenizers: Tokenizers, tmp_path: Path) -> None:
    one = Tokenizers(tokenizers.target, tokenizers.target)
    writer = make(tokenizers, shared=True)
    save_writer(tmp_path, writer, one.to_json(), DECODE, "en")
    again, config = load_writer(tmp_path, torch.device("cpu"))
    assert again.shape == writer.shape
    assert not again.training
    assert config["language"] == "en"
    assert WriterMember(tmp_path).write(TEXTS) == written(
        WriterTokens(writer), one, TEXTS, DECODE.model_copy(update={"candidates": 1})
    )


def test_a_score_is_the_mean_log_probability_of_a_token(writer: Writer, tokenizers: Tokenizers) -> None:
    got = score(writer, tokenizers, SOURCES, TEXTS)
    for row in (0, 3):
        tokens = WriterTokens(writer)
        state = tokens.begin(torch.tensor([tokenizers.source.encode(SOURCES[row]) or [1]]))
        total, last = 0.0, 2
        targets = [*tokenizers.target.encode(TEXTS[row]), END]
        for token in targets:
            log_probs, state = tokens.step(state, torch.tensor([last]))
            total, last = total + float(log_probs[0, token]), token
        assert got[row] == pytest.approx(total / len(targets), abs=1e-5)


def test_a_beam_scores_its_texts_as_they_are_scored_alone(writer: Writer, tokenizers: Tokenizers) -> None:
    found = written(WriterTokens(writer), tokenizers, SOURCES, Decode(beam=8, candidates=8))
    ended = 0
    for source, texts, scores in zip(SOURCES, found.texts, found.scores, strict=True):
        for text, own in zip(texts, scores, strict=True):
            # What is encoded as it was decoded (a space in front may have gone) and was not cut has one score.
            tokens = tokenizers.target.encode(text)
            length = len(tokens) + 1
            if length <= writer.shape.max_target and abs(score(writer, tokenizers, [source], [text])[0] - own) < 1e-5:
                ended += 1
    assert ended >= 4


def test_no_texts_have_no_scores(writer: Writer, tokenizers: Tokenizers) -> None:
    assert score(writer, tokenizers, [], []).shape == (0,)


def test_characters_that_the_writer_does_not_have_count_for_nothing(writer: Writer, tokenizers: Tokenizers) -> None:
    plain, odd = score(writer, tokenizers, ["a", "a"], ["x", "x語"])
    assert 1 in tokenizers.target.encode("x語")
    assert np.isfinite(odd)
    assert odd > -100
    assert odd != plain


def test_texts_longer_than_can_be_written_are_scored_so_far(writer: Writer, tokenizers: Tokenizers) -> None:
    got = score(writer, tokenizers, ["a", "a"], ["xyzxyzxyzxyz", "xyzxyzxyzxyzyyyyy"])
    assert len(tokenizers.target.encode("xyzxyzxyzxyz")) > 5
    assert got[0] == got[1]


def _edit(**values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return edit


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "No such file"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "No such file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "No such file"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "holds no writer"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"no"), "holds no writer"),
        (_edit(format=7), "format 7 of kind 'writer' is not known"),
        (_edit(kind="policy"), "a checkpoint of kind 'policy' writes nothing"),
        (_edit(shape={"source_vocab": 5}), "holds no writer"),
        (_edit(model={"d_model": 12}), "holds no writer"),
        (_edit(decode={"beam": 0}), "holds no writer"),
    ],
)
def test_what_is_damaged_is_refused_in_one_line(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    (folder / "SHA256SUMS").unlink()  # as older versions wrote it: what is wrong is found out by reading
    damage(folder)
    with pytest.raises(BundleError) as refused:
        load_writing_member(folder)
    message = str(refused.value)
    assert said in message
    assert str(folder) in message
    assert "\n" not in message
    assert message.endswith("copy or export it again")


def test_tokens_that_the_weights_do_not_fit_are_refused(folder: Path, tokenizers: Tokenizers) -> None:
    other = Tokenizers(tokenizers.target, tokenizers.source)
    (folder / "tokenizer.json").write_text(other.to_json(), encoding="utf-8")
    if other.source.vocab_size != tokenizers.source.vocab_size:
        with pytest.raises(BundleError, match="which the weights do not fit"):
            WriterMember(folder)


def test_what_holds_no_checkpoint_has_no_digest(folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(BundleError, match="holds no checkpoint"):
        tokenizers_digest(folder)

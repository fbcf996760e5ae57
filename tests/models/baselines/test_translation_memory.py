"""The nearest source's target, by vectors that scikit-learn would give, and the same from disk."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from sweepstack.models import checksums
from sweepstack.models.baselines.translation_memory import TranslationMemory
from sweepstack.models.data.pairs import PairDataset, PairPart
from sweepstack.models.errors import BundleError

SOURCES = ("Open the file", "Close the file", "open a window", "Close the window", "a", "Open the file")
TARGETS = ("打开文件", "关闭文件", "打开窗口", "关闭窗口", "一", "打开文件吧")
QUERIES = ["open the files", "Windows", "zzz", "", "A"]


def dataset(sources: tuple[str, ...] = SOURCES, targets: tuple[str, ...] = TARGETS) -> PairDataset:
    half = len(sources) // 2
    parts = {
        "warm": PairPart(sources[:half], targets[:half]),
        "policy": PairPart(sources[half:], targets[half:]),
        "valid": PairPart(("open the files",), ("打开这些文件",)),
    }
    return PairDataset(parts, {"content": "c"}, ())


@pytest.fixture(scope="module")
def memory() -> TranslationMemory:
    return TranslationMemory.fit(dataset())


def test_cosines_are_those_of_scikit_learn(memory: TranslationMemory) -> None:
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    known = vectorizer.fit_transform(SOURCES)
    cosines = (vectorizer.transform(QUERIES) @ known.T).toarray()
    assert list(memory.terms) == sorted(vectorizer.get_feature_names_out())
    said = memory.write(QUERIES, len(TARGETS))
    for row, (texts, scores) in enumerate(zip(said.texts, said.scores, strict=True)):
        places = [TARGETS.index(text) for text in texts]
        np.testing.assert_allclose(scores, cosines[row, places], atol=1e-6)
        assert sorted(places) == list(range(len(TARGETS)))


def test_the_nearest_come_first_and_ties_by_their_place(memory: TranslationMemory) -> None:
    said = memory.write(["Open the file", "zzz"], 3)
    assert said.texts[0][:2] == ("打开文件", "打开文件吧")
    assert said.scores[0][:2] == pytest.approx((1.0, 1.0))
    assert said.texts[1] == TARGETS[:3]
    assert said.scores[1] == (0.0, 0.0, 0.0)
    assert memory.write(["Open the file"]).texts == (("打开文件",),)


def test_texts_are_distinct_and_as_many_as_there_are() -> None:
    memory = TranslationMemory.fit(dataset(("a b", "a c", "a d", "a e"), ("x", "x", "y", "x")))
    assert [set(row) for row in memory.write(["a b"], 5).texts] == [{"x", "y"}]
    assert memory.write([], 2).texts == ()


def test_it_writes_the_same_from_disk(memory: TranslationMemory, tmp_path: Path) -> None:
    memory.save(tmp_path)
    again = TranslationMemory.load(tmp_path)
    assert again.write(QUERIES, 4) == memory.write(QUERIES, 4)
    assert again.language == memory.language == "zh"
    again.save(tmp_path / "again")
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("before", "after"), [('"format": 1', '"format": 7'), ('"memory"', '"writer"'), ('"一"', '"一", "二"'), ("{", "[")]
)
def test_what_is_not_whole_is_refused(memory: TranslationMemory, tmp_path: Path, before: str, after: str) -> None:
    memory.save(tmp_path)
    config = tmp_path / "config.json"
    checksums.put(tmp_path, {config.name: config.read_text(encoding="utf-8").replace(before, after, 1)})
    with pytest.raises(BundleError, match=r"is not a translation memory of format 1 .*copy the whole folder again"):
        TranslationMemory.load(tmp_path)


def test_cut_weights_are_refused(memory: TranslationMemory, tmp_path: Path) -> None:
    memory.save(tmp_path)
    weights = tmp_path / "weights.safetensors"
    checksums.put(tmp_path, {weights.name: weights.read_bytes()[:-8]})
    with pytest.raises(BundleError, match="not a translation memory"):
        TranslationMemory.load(tmp_path)

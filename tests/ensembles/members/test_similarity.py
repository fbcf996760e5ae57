import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.members.similarity import pairwise
from sweepstack.models.predictions.text_metrics import sentence_bleu, sentence_chrf

ROWS = [
    ["Save the file.", "Save the files, please!", "save file", "", " ", "a", "aa aa aa", "Save  the\tfile."],
    ["保存文件。", "保存这个文件吗?", "打开 PDF 文件", "文件文件文件"],
    ["one"],
]  # fmt: skip


def by_sentence(row: list[str], metric: str, language: str) -> np.ndarray:
    said = [one for one in row for _ in row]
    wanted = row * len(row)
    values = sentence_chrf(said, wanted) if metric == "chrf" else sentence_bleu(said, wanted, language)
    return np.asarray(values).reshape(len(row), len(row))


@pytest.mark.parametrize("metric", ["chrf", "bleu"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_pair_has_the_score_of_the_sentence_metric(metric: str, language: str) -> None:
    found = pairwise(ROWS, metric, language)
    assert [each.shape for each in found] == [(8, 8), (4, 4), (1, 1)]
    for row, scores in zip(ROWS, found, strict=True):
        np.testing.assert_allclose(scores, by_sentence(row, metric, language), atol=1e-9)


@given(st.lists(st.text("ab c你", max_size=12), min_size=1, max_size=4))
def test_whatever_the_texts_are(row: list[str]) -> None:
    for metric in ("chrf", "bleu"):
        np.testing.assert_allclose(pairwise([row], metric, "zh")[0], by_sentence(row, metric, "zh"), atol=1e-9)


def test_chrf_by_hand() -> None:
    """ "ab" against "abc": orders 1 and 2 count; precision 1 and 1, recall 2/3 and 1/2, whose mean is 7/12."""
    scores = pairwise([["ab", "abc"]], "chrf", "en")[0]
    assert scores[0, 0] == scores[1, 1] == 1
    assert scores[0, 1] == pytest.approx(5 * (7 / 12) / (4 + 7 / 12))
    assert scores[1, 0] == pytest.approx(5 * (7 / 12) / (4 * 7 / 12 + 1))


def test_rows_do_not_know_of_each_other() -> None:
    together = pairwise([["a b", "b a"], [], ["b a", "a b", "c"]] * 200, "bleu", "en")
    assert [len(each) for each in together[:3]] == [2, 0, 3]
    np.testing.assert_array_equal(together[-1], pairwise([["b a", "a b", "c"]], "bleu", "en")[0])


def test_another_utility_is_refused() -> None:
    with pytest.raises(ValueError, match="utility must be one of chrf, bleu, but got 'comet'"):
        pairwise(ROWS, "comet", "en")

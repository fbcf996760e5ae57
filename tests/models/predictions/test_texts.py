"""Candidates come back from disk as they were, also empty texts and other scripts."""

from pathlib import Path

import numpy as np
import pytest

from sweepstack.models.predictions.texts import Candidates

THREE = Candidates((("ab", "", "文字"), ("é𝄞",), ("",)), ((-0.5, -0.75, -2.0), (0.25,), (-1e-9,)))


def test_they_are_saved_and_loaded_as_they_were(tmp_path: Path) -> None:
    THREE.save(tmp_path / "predictions" / "test.safetensors", "hash of rows")
    assert Candidates.load(tmp_path / "predictions" / "test.safetensors") == (THREE, "hash of rows")


def test_no_rows_are_saved_and_loaded(tmp_path: Path) -> None:
    Candidates((), ()).save(tmp_path / "none", "")
    assert Candidates.load(tmp_path / "none") == (Candidates((), ()), "")


def test_the_best_of_a_row_is_its_first() -> None:
    assert THREE.best == ["ab", "é𝄞", ""]
    assert len(THREE) == 3


@pytest.mark.parametrize("index", [np.array([2, 0]), np.array([2, 0, 0]), np.array([True, False, True])])
def test_rows_are_picked_by_index_or_by_mask(index: np.ndarray) -> None:
    expected = np.array([0, 1, 2])[index]
    got = THREE.rows(index)
    assert got.texts == tuple(THREE.texts[i] for i in expected)
    assert got.scores == tuple(THREE.scores[i] for i in expected)


@pytest.mark.parametrize(("texts", "scores"), [(((),), ((),)), ((("a",),), ((0.0, 1.0),)), ((("a",),), ())])
def test_a_row_without_a_text_or_with_other_scores_is_refused(texts: tuple, scores: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="at least one text and a score for each"):
        Candidates(texts, scores)

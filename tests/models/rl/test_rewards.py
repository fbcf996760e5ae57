"""Each reward between 0 and 1, by hand; sums, and what a user's own function may do wrong."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepstack.models.errors import StudyError
from sweepstack.models.predictions.text_metrics import sentence_bleu, sentence_chrf
from sweepstack.models.rl.rewards import MAKERS, make_reward
from sweepstack.models.settings.rewards import KINDS, bounds

TEXTS = ["the cat sat", "", "the the the", "对象", "a"]
REFERENCES = ["the cat sat down", "a", "the", "对象", ""]
SPECS: dict[str, Any] = {
    "chrf": None,
    "bleu": None,
    "similarity": None,
    "length": {"low": 2, "high": 4},
    "repetition": None,
    "matches": "the",
    "classifier": {"bundle": "/b", "label": "x"},
    "function": "os.path:exists",
}


def values(spec: Any, texts: Sequence[str], references: Sequence[str] | None = None, language: str = "other") -> Any:
    return make_reward(spec, language, lambda texts: np.full(len(texts), 0.5))([""] * len(texts), references, texts)


def test_every_kind_has_a_maker() -> None:
    assert MAKERS.keys() == KINDS.keys() == SPECS.keys()


@pytest.mark.parametrize("name", [name for name in SPECS if name != "function"])
def test_a_reward_is_a_number_between_0_and_1_for_every_text(name: str) -> None:
    for language in ("other", "zh"):
        found = values({name: SPECS[name]}, TEXTS, REFERENCES, language)
        assert found.shape == (len(TEXTS),)
        assert ((found >= 0) & (found <= 1)).all()
    assert values({name: SPECS[name]}, [], []).shape == (0,)
    if not KINDS[name].needs_reference:
        assert values({name: SPECS[name]}, TEXTS).shape == (len(TEXTS),)


def test_chrf_and_bleu_are_those_of_sentences() -> None:
    np.testing.assert_array_equal(values("chrf", TEXTS, REFERENCES), sentence_chrf(TEXTS, REFERENCES))
    np.testing.assert_array_equal(values("bleu", TEXTS, REFERENCES, "zh"), sentence_bleu(TEXTS, REFERENCES, "zh"))


def test_similarity_by_hand() -> None:
    """'abc' has ab, bc, abc and 'abd' ab, bd, abd: one of three is shared. 'aaa' has aa twice and aaa once."""
    assert values("similarity", ["abc", "abc", "x", "Ab C"], ["abd", "abc", "abc", "ab  c"]) == pytest.approx(
        [1 / 3, 1, 0, 1]
    )
    twice = 1 + np.log(2)
    cosine = twice / np.sqrt(twice**2 + 1)
    assert values("similarity", ["aaa"], ["aa"])[0] == pytest.approx(cosine)


def test_length_rises_to_low_and_falls_from_high() -> None:
    texts = [" ".join("a" * n) for n in (0, 1, 2, 3, 4, 6, 8, 9)]
    assert values({"length": {"low": 2, "high": 4}}, texts).tolist() == [0, 0.5, 1, 1, 1, 0.5, 0, 0]
    assert values({"length": {"low": 4, "high": 4}}, ["选择 对象", "选择"], None, "zh").tolist() == [1, 0.5]


def test_repetition_is_the_share_of_pairs_that_differ() -> None:
    texts = ["a b c", "a b a b", "a a a a", "a", ""]
    assert values("repetition", texts) == pytest.approx([1, 2 / 3, 1 / 3, 1, 0])
    assert values("repetition", ["好好好"], None, "zh")[0] == 0.5


def test_matches_is_found_or_not() -> None:
    assert values({"matches": r"^\w+ cat\b"}, ["the cat sat", "a cats", "my cat"]).tolist() == [1, 0, 1]


def test_a_sum_weighs_its_terms() -> None:
    spec = {"repetition": 2, "length": {"low": 1, "high": 2, "weight": -0.5}}
    assert values(spec, ["a a a", "a"]) == pytest.approx([2 * 0.5 - 0.5 * 0.5, 2 - 0.5])
    assert make_reward(spec, "other").reference_free
    assert not make_reward({"repetition": 1, "chrf": 1}, "other").reference_free


def test_without_references_what_needs_them_is_refused() -> None:
    with pytest.raises(StudyError, match=r"writing\.reward: chrf needs references, and these rows have none"):
        values("chrf", ["a"])


def test_a_classifier_is_handed_in() -> None:
    spec = {"classifier": {"bundle": "/b", "label": "x"}}
    assert values(spec, ["a", "b"]).tolist() == [0.5, 0.5]
    with pytest.raises(StudyError, match="the bundle /b is not loaded here"):
        make_reward(spec, "other")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards.py").write_text(
        "calls = []\n"
        "def good(sources, references, texts):\n    calls.append((sources, references, texts))\n"
        "    return [len(s) + len(t) for s, t in zip(sources, texts)]\n"
        "def few(sources, references, texts):\n    return [1.0]\n"
        "def huge(sources, references, texts):\n    return [0.5, 1e30]\n"
        "def nan(sources, references, texts):\n    return [0.5, float('nan')]\n"
        "def words(sources, references, texts):\n    return ['a', 'b']\n"
        "def fails(sources, references, texts):\n    raise KeyError('x')\n"
        "number = 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_rewards", raising=False)


@pytest.mark.usefixtures("own")
def test_a_function_of_the_users_own_is_called() -> None:
    reward = make_reward({"function": {"name": "own_rewards:good", "weight": 0.5}}, "other")
    assert reward(["ab", "c"], ["x", "y"], ["d", "ef"]).tolist() == [1.5, 1.5]
    assert sys.modules["own_rewards"].calls == [(["ab", "c"], ["x", "y"], ["d", "ef"])]
    assert reward.reference_free


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("own_rewards:few", r"own_rewards:few must give 2 numbers, one a text, but gave the shape \(1,\); mend it"),
        ("own_rewards:huge", r"own_rewards:huge gave 1e\+30 for text 1, which is too large to learn from; scale it"),
        ("own_rewards:nan", "own_rewards:nan must give finite numbers, but gave nan for text 1; mend it"),
        ("own_rewards:words", "own_rewards:words must give 2 numbers, but gave list; mend it"),
        ("own_rewards:fails", r"own_rewards:fails failed \(KeyError: 'x'\); mend it"),
        ("own_rewards:number", "own_rewards:number is no function but 3"),
        ("own_rewards:absent", "own_rewards:absent cannot be imported .*; check its name"),
        ("no_such_module:good", r"cannot be imported \(No module named 'no_such_module'\); .* on PYTHONPATH"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(name: str, line: str) -> None:
    with pytest.raises(StudyError, match=line) as caught:
        values({"function": name}, ["a", "b"])
    assert "\n" not in str(caught.value)


def test_a_sum_lies_between_what_its_weights_allow() -> None:
    assert bounds("chrf") == (0, 1)
    assert bounds({"matches": {"pattern": "a", "weight": 2}, "repetition": -0.5}) == (-0.5, 2)
    assert bounds({"function": "own_rewards:good", "chrf": 1}) is None


def test_similarity_keeps_nothing_of_texts_that_are_written() -> None:
    """As long as its n-grams are many: 300 texts of 1,000 characters took 93 MB."""
    import tracemalloc

    random, similarity = np.random.default_rng(0), make_reward("similarity", "other")
    reference = "abcdefghij klmno " * 60
    texts = ["".join(random.choice(list("abcdefghij "), 1000)) for _ in range(300)]
    similarity([""], [reference], texts[:1])
    tracemalloc.start()
    similarity([""] * 300, [reference] * 300, texts)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 1e6

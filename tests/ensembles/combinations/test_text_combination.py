import json
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.combinations.reranking import PLAIN
from sweepstack.ensembles.combinations.text_combination import TextCombination, counts_of, first, single
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.models.errors import BundleError
from sweepstack.models.predictions.texts import Candidates

PICKING = {"utility": "chrf", "language": "en", "counts": [2, 2, 2]}
RISK = TextCombination("minimum_bayes_risk", (2, 0, 1), PICKING)
COEFFICIENTS = np.linspace(-1, 1, len(PLAIN) + 3)
RERANKER = TextCombination(
    "reranker", (0, 1, 2), {**PICKING, "memories": [False, False, True], "usual": 0.1}, {"coefficients": COEFFICIENTS}
)
AVERAGE = TextCombination("token_average", (0, 1), {"mean": "probabilities", "decode": {"beam": 2, "candidates": 1}})


class Remembers:
    """A member that writes again what it wrote."""

    def __init__(self, library: CandidateLibrary, place: int) -> None:
        self._said = dict(zip(library.sources, library.candidates[place].texts, strict=True))
        self._scores = dict(zip(library.sources, library.candidates[place].scores, strict=True))

    def write(self, texts: Sequence[str], n: int = 1) -> Candidates:
        found = Candidates(tuple(self._said[t] for t in texts), tuple(self._scores[t] for t in texts))
        return first(found, n)


@pytest.fixture
def library(writing: SimpleNamespace) -> CandidateLibrary:
    return writing.library([0.2, 0.3, 0.5], ["trial", "trial", "baseline"], rows=30)[0]  # type: ignore[no-any-return]


def test_the_candidate_most_like_the_others_is_taken() -> None:
    written = [("the cat sat", "a dog ran"), ("the cat sits",), ("the cat sat",)]
    own = tuple(Candidates((texts,), ((-0.1, -0.2)[: len(texts)],)) for texts in written)
    picked = RISK.pick(CandidateLibrary((), own, ("source",)))
    assert picked.texts[0][0] == "the cat sat"
    assert picked.texts[0][-1] == "a dog ran"
    assert len(picked.texts[0]) == 3
    assert sorted(picked.scores[0], reverse=True) == list(picked.scores[0])


def test_a_single_one_says_what_its_member_says(library: CandidateLibrary) -> None:
    alone = single(library, 1)
    assert alone.pick(library) == library.candidates[1]
    assert alone.weights == (1.0,)
    assert alone.write([Remembers(library, 1)], library.sources, 0) == library.candidates[1]


def test_of_fewer_candidates_the_best_lags_as_it_did() -> None:
    said = Candidates((("a", "b"), ("c",)), ((-0.1, -0.2), (-0.3,)), (1.5, 2.0))
    assert first(said, 1) == Candidates((("a",), ("c",)), ((-0.1,), (-0.3,)), (1.5, 2.0))


def test_a_reranker_takes_what_its_coefficients_say(library: CandidateLibrary) -> None:
    by_utility = np.zeros(len(PLAIN) + 3)
    by_utility[0] = 1
    alike = TextCombination("reranker", (0, 1, 2), RERANKER.options, {"coefficients": by_utility})
    risk = TextCombination("minimum_bayes_risk", (0, 1, 2), PICKING)
    assert alike.pick(library).texts == risk.pick(library).texts  # minimum Bayes risk is the special case
    contrary = TextCombination("reranker", (0, 1, 2), RERANKER.options, {"coefficients": -by_utility})
    assert contrary.pick(library).texts != risk.pick(library).texts


@pytest.mark.parametrize("combination", [RISK, RERANKER], ids=["risk", "reranker"])
def test_served_members_write_what_was_picked_of_their_stored_candidates(
    combination: TextCombination, library: CandidateLibrary
) -> None:
    loaded = [Remembers(library, place) for place in combination.members]
    picked, served = combination.pick(library), combination.write(loaded, library.sources, 0)
    assert served == picked
    assert combination.write(loaded, library.sources, 2) == first(picked, 2)
    alone = [combination.write(loaded, [source]).texts[0][0] for source in library.sources]
    assert alone == picked.best
    assert combination.write(loaded, []) == Candidates((), ())


@pytest.mark.parametrize("combination", [RISK, RERANKER, AVERAGE], ids=["risk", "reranker", "average"])
def test_it_survives_json(combination: TextCombination) -> None:
    state, arrays = combination.state()
    again = TextCombination.from_state(json.loads(json.dumps(state)), arrays)
    assert (again.kind, again.members, dict(again.options)) == (
        combination.kind, combination.members, dict(combination.options),
    )  # fmt: skip
    for name, array in combination.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    assert again.utility == ("chrf" if combination is RISK else "")
    assert again.needs_decoding == (combination is AVERAGE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "code"}, "kind must be one of single, token_average"),
        ({"kind": "single"}, "single cannot have 3 members"),
        ({"members": [0, 1]}, "2 members need as many counts, but got 3"),
        ({"options": {**PICKING, "utility": "comet"}}, "utility must be one of chrf, bleu, but got 'comet'"),
        ({"kind": "token_average", "options": {"mean": "median", "decode": {}}}, "mean must be one of"),
    ],
)
def test_what_is_no_combination_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TextCombination.from_state({**RISK.state()[0], **change}, {})


def test_coefficients_of_other_members_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 members do not fit \(2,\) coefficients"):
        TextCombination.from_state(RERANKER.state()[0], {"coefficients": np.ones(2)})


def test_an_average_must_be_decoded_by_writers(library: CandidateLibrary) -> None:
    with pytest.raises(ValueError, match="decode it"):
        AVERAGE.pick(library)
    with pytest.raises(BundleError, match="memory is no writer"):
        AVERAGE.write([Remembers(library, 0), Remembers(library, 2)], ["text"], 1, ["memory", "memory"])


def test_counts_are_of_the_longest_list() -> None:
    said = Candidates((("a",), ("b", "c")), ((0.0,), (0.0, -1.0)))
    assert counts_of(CandidateLibrary((), (said,), ("", "")), (0,)) == [2]

"""What every builder of texts must do: one suite over the registry."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.builders.text_builders import TEXT_BUILDERS, make_text_builder
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.errors import StudyError

OBJECTIVE = TextObjective("chrf", "en")
KINDS = ["trial", "trial", "soup", "control", "baseline", "refit", "refit"]


@pytest.fixture
def library(writing: SimpleNamespace, tmp_path: Path) -> tuple[CandidateLibrary, tuple[str, ...]]:
    """With the two files of a writer's checkpoint that builders look into."""
    made, references = writing.library([0.3, 0.35, 0.4, 0.3, 0.5, 0.4, 0.45], KINDS, rows=40)
    members = tuple(replace(member, folder=tmp_path / member.name) for member in made.members)
    for member in members:
        member.checkpoint.mkdir(parents=True)
        if member.kind != "baseline":
            (member.checkpoint / "tokenizer.json").write_text("{}")
            (member.checkpoint / "config.json").write_text('{"decode": {"beam": 2, "candidates": 2}}')
    return replace(made, members=members), references


@pytest.fixture(params=sorted(TEXT_BUILDERS))
def builder(request: pytest.FixtureRequest) -> TextBuilder:
    return make_text_builder(request.param)


def places(builder: TextBuilder, library: CandidateLibrary) -> tuple[int, ...]:
    ranked = [i for i, member in enumerate(library.members) if member.kind in builder.kinds]
    return builder.choose(library, ranked)


def fitted(builder: TextBuilder, library: CandidateLibrary, references: tuple[str, ...]) -> TextCombination:
    return builder.fit(library, places(builder, library), references, OBJECTIVE)


def test_its_name_is_its_entry(builder: TextBuilder) -> None:
    assert TEXT_BUILDERS[builder.name] is type(builder)


def test_it_takes_members_of_its_kinds_alone(
    builder: TextBuilder, library: tuple[CandidateLibrary, tuple[str, ...]]
) -> None:
    combination = fitted(builder, *library)
    assert len(combination.members) >= builder.least
    assert len(set(combination.members)) == len(combination.members)
    assert {library[0].members[m].kind for m in combination.members} <= builder.kinds
    assert sum(combination.weights) == pytest.approx(1)


def test_the_same_call_gives_the_same_and_it_survives_json(
    builder: TextBuilder, library: tuple[CandidateLibrary, tuple[str, ...]]
) -> None:
    state, arrays = fitted(builder, *library).state()
    again, _ = fitted(builder, *library).state()
    assert again == state
    restored = TextCombination.from_state(json.loads(json.dumps(state)), arrays)
    assert restored.state()[0] == state
    if not restored.needs_decoding:
        assert restored.pick(library[0]) == fitted(builder, *library).pick(library[0])


def test_what_fits_nothing_looks_at_no_reference(
    builder: TextBuilder, library: tuple[CandidateLibrary, tuple[str, ...]]
) -> None:
    own, references = library
    shuffled = tuple(np.random.default_rng(0).permutation(references))
    one, other = (fitted(builder, own, each).state() for each in (references, shuffled))
    arrays_differ = any(not np.array_equal(one[1][name], other[1][name]) for name in one[1])
    assert arrays_differ == builder.fits
    if not builder.fits:
        assert one[0] == other[0]


def test_a_row_is_picked_whatever_stands_beside_it(
    builder: TextBuilder, library: tuple[CandidateLibrary, tuple[str, ...]]
) -> None:
    combination, own = fitted(builder, *library), library[0]
    if combination.needs_decoding:
        return
    everything = combination.pick(own)
    assert all(len(row) == len(set(row)) for row in everything.texts)
    one = CandidateLibrary(own.members, tuple(c.rows(np.array([7])) for c in own.candidates), own.sources[7:8])
    assert combination.pick(one) == everything.rows(np.array([7]))


def test_a_budget_of_members_bounds_it(builder: TextBuilder, library: tuple[CandidateLibrary, tuple[str, ...]]) -> None:
    assert len(places(builder.within(2), library[0])) <= 2
    assert len(places(builder.within(1), library[0])) <= builder.least
    assert builder.within(None) == builder


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("stacking", "'stacking' is not available in this version; use one of average, minimum_bayes_risk, reranker"),
        ("bagging", "'bagging' is not available"),
        ({"snapshots": {"cycles": 0}}, "snapshots.cycles must be a number above 0, but got 0"),
        ({"snapshots": {"refits": 1}}, "'refits' is no option"),
        ({"average": {"mean": "median"}}, "average: mean must be probabilities or log_probabilities, but got 'median'"),
        ({"average": {"top": 0}}, "average.top must be a number above 0, but got 0"),
        ({"minimum_bayes_risk": {"utility": "comet"}}, "utility must be chrf or bleu, but got 'comet'"),
        ({"reranker": {"tops": 3}}, "'tops' is no option; did you mean top?"),
        ({"soup": {"kind": "hot"}}, "kind must be greedy or uniform, but got 'hot'"),
    ],
)
def test_a_wrong_entry_of_a_study_is_refused(spec: str | dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(StudyError, match=words.replace("?", r"\?")):
        make_text_builder(spec)


def test_options_are_taken() -> None:
    assert make_text_builder({"average": {"top": 2, "mean": "log_probabilities"}}) == replace(
        make_text_builder("average"), top=2, mean="log_probabilities"
    )


def test_members_of_other_tokenizers_are_not_averaged(
    library: tuple[CandidateLibrary, tuple[str, ...]],
) -> None:
    own = library[0]
    (own.members[1].checkpoint / "tokenizer.json").write_text('{"other": 1}')
    average = make_text_builder("average")
    assert average.choose(own, (0, 1, 3, 4)) == (0, 3)
    assert average.choose(own, (1, 0, 3, 4)) == (1,)
    assert isinstance(own.members[0], Member)

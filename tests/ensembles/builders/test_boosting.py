import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.builders.boosting import Boosting, samme
from sweepstack.ensembles.builders.retrained import Grounds, Origin
from sweepstack.ensembles.refits.jobs import RefitJob, RefitResult, Sample, refit
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.encoding import TaskData, fitted_rows, resample
from sweepstack.models.files import write_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions


def test_a_round_by_hand() -> None:
    """Three classes, e = 1/4: α = log 3 + log 2 = log 6, so the wrong row is raised sixfold: 6/9 of all weight."""
    step = samme((np.full(4, 0.25),), [np.array([True, False, False, False])], 3, 1.0)
    assert step.alpha == pytest.approx(math.log(6))
    np.testing.assert_allclose(step.weights[0], [6 / 9, 1 / 9, 1 / 9, 1 / 9])
    assert not step.ends
    half = samme((np.full(4, 0.25),), [np.array([True, False, False, False])], 3, 0.5)
    assert half.alpha == pytest.approx(math.log(6) / 2)
    np.testing.assert_allclose(half.weights[0] * (math.sqrt(6) + 3), [math.sqrt(6), 1, 1, 1])


def test_no_better_than_chance_is_discarded_and_perfect_counts_one() -> None:
    weights = (np.full(3, 1 / 3),)
    chance = samme(weights, [np.array([True, True, False])], 3, 1.0)
    assert (chance.alpha, chance.ends) == (None, True)
    assert samme(weights, [np.array([True, True, False])], 4, 1.0).alpha is not None, "of four classes 2/3 is better"
    perfect = samme(weights, [np.zeros(3, dtype=bool)], 3, 0.1)
    assert (perfect.alpha, perfect.ends) == (1.0, True)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=2, max_size=20),
    st.integers(2, 10),
    st.floats(0.05, 2),
)
def test_what_follows_of_any_round(rows: list[tuple[float, bool]], classes: int, lr: float) -> None:
    weights = np.array([weight for weight, _ in rows])
    weights /= weights.sum()
    wrong = np.array([missed for _, missed in rows])
    step = samme((weights,), [wrong], classes, lr)
    if step.alpha is None:
        assert weights[wrong].sum() >= 1 - 1 / classes - 1e-9
        return
    assert step.alpha > 0
    assert step.weights[0].sum() == pytest.approx(1)
    if not step.ends and lr == 1.0:  # the reweighted rows are as hard as chance for the member that was
        assert step.weights[0][wrong].sum() == pytest.approx(1 - 1 / classes)


def test_rounds_are_those_of_scikit_learn() -> None:
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    random = np.random.default_rng(0)
    X = random.normal(size=(200, 3))
    y = (X @ [1, 2, -1] + random.normal(size=200) > 0).astype(int) + (X[:, 0] > 1)
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=5, learning_rate=0.7, random_state=0)
    theirs.fit(X, y)
    weights = (np.full(200, 1 / 200),)
    for member, alpha in zip(theirs.estimators_, theirs.estimator_weights_, strict=True):
        step = samme(weights, [member.predict(X) != y], 3, 0.7)
        assert step.alpha == pytest.approx(alpha)
        weights = step.weights


def test_folds_have_their_own_weights_and_one_alpha() -> None:
    """Errors of 1/2 and 0 over three classes: e = 1/4."""
    weights = (np.full(2, 0.5), np.full(4, 0.25))
    step = samme(weights, [np.array([True, False]), np.zeros(4, dtype=bool)], 3, 1.0)
    assert step.alpha == pytest.approx(math.log(6))
    np.testing.assert_allclose(step.weights[0], [6 / 7, 1 / 7])
    np.testing.assert_allclose(step.weights[1], 0.25)


# Chains. What a refit says is made up; the rows are those of the small task.


@pytest.fixture
def grounds(topics: SimpleNamespace, tmp_path: Path) -> Grounds:
    return Grounds(tmp_path / "refits", topics.data, 0, Objective("accuracy", Costs(0.0)))


@pytest.fixture
def origin(topics: SimpleNamespace, tmp_path: Path) -> Origin:
    write_json(tmp_path / "best" / "checkpoint" / "config.json", {})
    return Origin(topics.quick, tmp_path / "best" / "checkpoint")


def answered(job: RefitJob, grounds: Grounds, wrong: Sequence[int]) -> RefitResult:
    """A refit that gets the rows with these places wrong."""
    both = fitted_rows(grounds.data)
    assert both.labels is not None
    answers = both.labels.copy()
    answers[list(wrong)] += 1
    probabilities = np.repeat(np.eye(3, dtype=np.float32)[answers % 3][:, None], both.tokens.shape[1], axis=1)
    answer = np.ones(probabilities.shape[:2], np.float32)
    Predictions(probabilities, answer, both.n_segments).save(job.member.predictions("fitted"), "")
    return RefitResult(job, (), None)


def follow(chain: Any, grounds: Grounds, wrong: Sequence[Sequence[int]]) -> list[RefitResult]:
    results: list[RefitResult] = []
    while (job := chain(results)) is not None:
        results.append(answered(job, grounds, wrong[len(results)]))
    return results


def test_a_chain_raises_what_was_wrong_and_weighs_its_members(grounds: Grounds, origin: Origin) -> None:
    boosting = Boosting(members=3, lr=1.0)
    (chain,) = boosting.chains([origin, origin], grounds)
    wrong = [range(26), range(26, 52), range(52, 60)]  # of 260 rows
    results = follow(chain, grounds, wrong)
    assert len(results) == 3
    alphas, weights = [], np.full(260, 1 / 260)
    for result, missed in zip(results, wrong, strict=True):
        job = result.job
        assert job.initial == origin.checkpoint
        assert job.sample is not None
        assert job.sample.weights is not None
        np.testing.assert_allclose(job.sample.weights[0], weights)
        error = weights[list(missed)].sum()
        alphas.append(math.log((1 - error) / error) + math.log(2))
        weights[list(missed)] *= math.exp(alphas[-1])
        weights /= weights.sum()
    assert len({result.job.folder for result in results}) == 3
    done = boosting.trained([results], grounds)
    assert done.refits == tuple(result.job.name for result in results)
    np.testing.assert_allclose(done.alphas, np.array(alphas) / sum(alphas))
    assert boosting.ended_early(results, grounds) is None
    assert [chain(results[:count]) for count in range(3)] == [result.job for result in results], "it goes on anywhere"


def test_other_answers_make_other_jobs(grounds: Grounds, origin: Origin) -> None:
    (chain,) = Boosting(members=2).chains([origin], grounds)
    second = [follow(chain, grounds, [missed, range(9)])[1].job.folder for missed in (range(5), range(6), range(5))]
    assert second[0] == second[2] != second[1]


@pytest.mark.parametrize(
    ("wrong", "kept", "reason"),
    [
        ([range(26), range(0)], 2, "boosting ended after 2 of 4 rounds: the last member got every row right"),
        ([range(26), range(30)], 1, "boosting ended after 2 of 4 rounds: the last member was no better than"),
        ([range(260)], 0, "boosting ended after 1 of 4 rounds: the last member was no better than chance"),
    ],
)
def test_why_a_chain_ends_early(
    wrong: Sequence[Sequence[int]], kept: int, reason: str, grounds: Grounds, origin: Origin
) -> None:
    boosting = Boosting(members=4, lr=1.0)
    (chain,) = boosting.chains([origin], grounds)
    results = follow(chain, grounds, wrong)
    done = boosting.trained([results], grounds)
    assert done.refits is not None
    assert len(done.refits) == len(done.alphas) == kept
    assert (boosting.ended_early(results, grounds) or "").startswith(reason)


def test_a_training_that_broke_down_ends_a_chain(grounds: Grounds, origin: Origin) -> None:
    boosting = Boosting(members=3)
    (chain,) = boosting.chains([origin], grounds)
    first = follow(chain, grounds, [range(9), range(9), range(9)])[0]
    second = chain([first])
    broken = RefitResult(second, (), "train_loss is not a number")
    done = boosting.trained([[first, broken]], grounds)
    assert done.refits == (first.job.name,)
    assert boosting.ended_early([first, broken], grounds) == (
        "boosting ended after 2 of 3 rounds: train_loss is not a number"
    )


def test_two_chains_count_alike(grounds: Grounds, origin: Origin) -> None:
    boosting = Boosting(top=2, members=2)
    chains = boosting.chains([origin, replace(origin, settings=origin.settings)], grounds)
    results = [follow(chain, grounds, wrong) for chain, wrong in zip(chains, ([[1], [2]], [[3, 4], []]), strict=True)]
    done = boosting.trained(results, grounds)
    assert len({*(done.refits or ())}) == 4
    assert sum(done.alphas[:2]) == pytest.approx(1)
    assert sum(done.alphas) == pytest.approx(2)


def test_alphas_are_the_weights(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.0, 1.0])
    combination = Boosting(refits=("a", "b", "c"), alphas=(1.0, 0.6, 0.4)).fit(stack, labels, Objective())
    np.testing.assert_allclose(combination.weights, [0.5, 0.3, 0.2], atol=1e-7)
    assert combination.members == (0, 1, 2)


def test_where_the_metric_reads_all_so_does_the_error(grounds: Grounds, origin: Origin) -> None:
    """A member that answers every text at once, wrongly, and knows better at its end."""
    both = fitted_rows(grounds.data)
    assert both.labels is not None
    for metric, ends in (("log_loss", True), ("reward", False)):
        own = replace(grounds, objective=Objective(metric, Costs(0.0)))
        boosting = Boosting(members=2)
        (chain,) = boosting.chains([origin], own)
        job = chain([])
        assert job is not None
        segments = np.arange(both.tokens.shape[1])[None, :]
        late = segments >= both.n_segments[:, None] - 1
        answers = np.where(late | (np.arange(260)[:, None] < 200), both.labels[:, None], (both.labels[:, None] + 1) % 3)
        said = Predictions(np.eye(3, dtype=np.float32)[answers], np.ones(late.shape, np.float32), both.n_segments)
        said.save(job.member.predictions("fitted"), "")
        result = RefitResult(job, (), None)
        assert (chain([result]) is None) == ends


def test_a_row_that_counts_more_is_drawn_more_often(topics: SimpleNamespace) -> None:
    data: TaskData = topics.data
    weights = np.ones(260)
    weights[:20] = 50.0
    sample = resample(data, 0, (weights,))
    drawn = np.concatenate([sample.parts[name].tokens.reshape(-1, 8) for name in ("warm", "policy")])
    raised = fitted_rows(data).tokens[:20].reshape(20, -1)
    share = (drawn[:, None] == raised[None]).all(axis=2).any(axis=1).mean()
    assert share == pytest.approx(1000 / 1240, abs=0.08)


def test_policies_boosted_for_real(topics: SimpleNamespace, tmp_path: Path) -> None:
    """From a trial's checkpoint: the second member is better on the rows that the first got wrong."""
    data: TaskData = topics.data
    settings = topics.quick.with_values({"train.warm_start.epochs": 1, "train.warm_start.lr": 3e-3})
    best = RefitJob.of(tmp_path, data.hashes, settings, Sample(9))
    refit(best, data, "reward")
    grounds = Grounds(tmp_path, data, 0, Objective("accuracy_full", Costs(0.0)))
    boosting = Boosting(members=2)
    (chain,) = boosting.chains([Origin(settings, best.member.checkpoint)], grounds)
    results: list[RefitResult] = []
    while (job := chain(results)) is not None:
        results.append(refit(job, data, "reward"))
    assert [result.error for result in results] == [None, None]
    labels = fitted_rows(data).labels
    right = [
        said.at(said.n_segments - 1).argmax(axis=1) == labels
        for said in (result.job.said_of_fitted() for result in results)
    ]
    hard = ~right[0]
    assert hard.sum() >= 5
    assert right[1][hard].mean() > 0.3

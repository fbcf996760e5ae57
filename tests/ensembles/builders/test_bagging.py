from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.bagging import Bagging, averaged_unseen, out_of_bag_metrics
from sweepstack.ensembles.builders.retrained import Grounds, Origin
from sweepstack.ensembles.members.library import Member, Stack
from sweepstack.ensembles.refits.jobs import RefitJob, RefitResult
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.encoding import TaskData, fitted_rows, out_of_bag
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.settings.trial import TrialSettings


def jobs_of(bagging: Bagging, grounds: Grounds, *settings: TrialSettings) -> list[RefitJob]:
    origins = [Origin(each, Path("nowhere")) for each in settings]
    found = []
    for chain in bagging.chains(origins, grounds):
        job = chain([])
        assert job is not None
        assert chain([RefitResult(job, (), None)]) is None, "every refit stands alone"
        found.append(job)
    return found


@pytest.fixture
def grounds(topics: SimpleNamespace, tmp_path: Path) -> Grounds:
    return Grounds(tmp_path / "refits", topics.data, 0, Objective("reward", Costs(0.02)))


def test_all_refits_count_alike_however_good(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 0.0, 3.0])
    combination = Bagging().fit(stack, labels, Objective())
    assert combination.members == (0, 1, 2)
    np.testing.assert_allclose(combination.weights, 1 / 3, rtol=1e-6)


def test_refits_differ_in_start_and_sample(grounds: Grounds) -> None:
    settings = TrialSettings()
    three = jobs_of(Bagging(members=3), grounds, settings)
    assert jobs_of(Bagging(members=5), grounds, settings)[:3] == three, "more members keep those that are there"
    assert len({job.folder for job in three}) == 3
    assert len({job.settings.train.warm_start.seed for job in three}) == 3
    assert len({job.sample.seed for job in three if job.sample is not None}) == 3
    assert {(job.initial, job.chosen) for job in three} == {(None, True)}


def test_settings_that_differ_in_the_replaced_seed_only_are_refitted_once(grounds: Grounds) -> None:
    settings = TrialSettings()
    other, third = (settings.with_values({"train.warm_start.seed": seed}) for seed in (3, 4))
    assert len(jobs_of(Bagging(top=2, members=2), grounds, settings, other, third)) == 2
    better = settings.with_values({"train.lr": 0.1})
    assert len(jobs_of(Bagging(top=2, members=2), grounds, settings, better, third)) == 4


def test_it_uses_what_was_trained_for_it_and_nothing_else(grounds: Grounds) -> None:
    jobs = jobs_of(Bagging(members=3), grounds, TrialSettings())
    results = [[RefitResult(job, (), error)] for job, error in zip(jobs, (None, "not a number", None), strict=True)]
    bagging = Bagging(members=3).trained(results, grounds)
    used = [bagging.uses(job.member) for job in jobs]
    assert used == [True, False, True]
    assert not bagging.uses(Member("refit-of-boosting", "refit", Path()))
    assert not bagging.uses(Member(jobs[0].name, "trial", Path()))
    assert Bagging().uses(Member("refit-of-boosting", "refit", Path())), "where nobody has said which are its own"


@pytest.mark.parametrize(("most", "wanted"), [(None, (2, 5)), (20, (2, 5)), (6, (2, 3)), (3, (2, 1)), (1, (1, 1))])
def test_a_budget_bounds_what_is_trained(most: int | None, wanted: tuple[int, int]) -> None:
    bagging = Bagging(top=2, members=5).within(most)
    assert (bagging.top, bagging.members) == wanted


def said(*rows: Sequence[float]) -> Predictions:
    """Of one segment."""
    probabilities = np.array(rows, dtype=np.float32)[:, None, :]
    return Predictions(probabilities, np.ones((len(rows), 1), np.float32), np.ones(len(rows), np.int64))


def test_the_average_over_those_that_have_not_seen_a_row() -> None:
    """Worked out by hand: row 0 by the first, row 1 by both, row 2 by none, row 3 by the second."""
    stack = Stack.of(
        [
            said([0.8, 0.2], [0.6, 0.4], [0.0, 1.0], [0.1, 0.9]),
            said([0.0, 1.0], [0.2, 0.8], [0.0, 1.0], [0.9, 0.1]),
        ]
    )
    unseen = np.array([[True, True, False, False], [False, True, False, True]])
    found = averaged_unseen(stack, unseen, np.array([0, 1, 0, 1]), Costs(0.0))
    assert found is not None
    figures, share = found
    assert share == 3 / 4
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["log_loss"] == pytest.approx(-np.log([0.8, 0.6, 0.1]).mean(), abs=1e-5)
    assert averaged_unseen(stack, np.zeros_like(unseen), np.array([0, 1, 0, 1]), Costs(0.0)) is None


def test_out_of_bag_looks_at_no_row_that_a_refit_has_drawn(grounds: Grounds) -> None:
    """Refits that are right on every row they have drawn, and wrong on every other: out of bag they are never right."""
    data: TaskData = grounds.data
    both = fitted_rows(data)
    assert both.labels is not None
    results = []
    for job in jobs_of(Bagging(members=4), grounds, TrialSettings()):
        assert job.sample is not None
        unseen = out_of_bag(data, job.sample.seed)
        assert 0.2 < unseen.mean() < 0.5  # 1/e of the rows, less the same texts
        answers = (both.labels + unseen) % 3
        probabilities = np.repeat(np.eye(3, dtype=np.float32)[answers][:, None], both.tokens.shape[1], axis=1)
        answer = np.ones(probabilities.shape[:2], np.float32)
        Predictions(probabilities, answer, both.n_segments).save(job.member.predictions("fitted"), "")
        results.append(RefitResult(job, (), None))
    found = out_of_bag_metrics(results, grounds)
    assert found is not None
    assert found[0]["accuracy"] == 0
    assert 0.7 < found[1] < 1
    failed = [RefitResult(result.job, (), "not a number") for result in results]
    assert out_of_bag_metrics(failed, grounds) is None


def test_there_is_no_out_of_bag_estimate_under_folds(grounds: Grounds) -> None:
    from dataclasses import replace

    under_folds = replace(grounds, data=replace(grounds.data, folds=(grounds.data, grounds.data)))
    (job,) = jobs_of(Bagging(members=1), grounds, TrialSettings())
    assert out_of_bag_metrics([RefitResult(job, (), None)], under_folds) is None

"""scikit-learn's ensembles of policies in Ray's worker processes."""

import os
from typing import Any

import joblib
import numpy as np
import pytest
import ray
from sklearn.ensemble import BaggingClassifier

from sweepstack.ensembles.policy_classifier import PolicyClassifier
from sweepstack.search.joblib_backend import on_ray

QUICK: dict[str, Any] = {
    "model.d_model": 8,
    "model.heads": 1,
    "train.warm_start.epochs": 2,
    "train.warm_start.lr": 2e-2,
    "train.epochs": 1,
    "precision": "float32",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:ray")  # its warnings are not ours to mend
@pytest.mark.filterwarnings("ignore::Warning:joblib")
def test_bagging_of_policies_is_trained_by_rays_workers_and_is_the_same_as_here() -> None:
    words = {"farm": "wheat corn grain", "ship": "port sea crew"}
    random = np.random.default_rng(0)
    labels = np.array(list(words))[np.arange(60) % 2]
    texts = np.array([[" ".join(random.choice(words[label].split(), 2))] for label in labels], dtype=object)
    policy = PolicyClassifier(QUICK, reading={"segment": 4, "max_segments": 1}, device="cpu", random_state=0)
    before = {name for name in os.environ if name.startswith("RAY_")}
    with on_ray(jobs=2):
        pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(2))
        remote = BaggingClassifier(policy, n_estimators=2, n_jobs=2, random_state=0).fit(texts, labels)
    assert os.getpid() not in pids
    assert not ray.is_initialized()
    assert {name for name in os.environ if name.startswith("RAY_")} == before
    here = BaggingClassifier(policy, n_estimators=2, random_state=0).fit(texts, labels)
    np.testing.assert_allclose(remote.predict_proba(texts), here.predict_proba(texts), atol=1e-4)
    assert remote.score(texts, labels) > 0.9

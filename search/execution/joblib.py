"""scikit-learn's own ensembles on Ray: what they run by joblib runs in Ray's worker processes.

    with on_ray(jobs=4):
        BaggingClassifier(PolicyClassifier()).fit(texts, labels)

An estimator's own ``n_jobs`` may be lower; more than the cluster has room for would wait for it for ever. Estimators
and data go there and back through Ray's memory; nothing of them is written to disk.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from sweepstack.search.execution.cluster import ONE_CORE, Cluster
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.search_section import Resources


@contextmanager
def joblib_on(cluster: Cluster, resources: Resources = ONE_CORE) -> Iterator[None]:
    """joblib's calls go to this cluster, each with those resources and as many as it has room for at a time, until the
    context ends."""
    import joblib
    from ray.util.joblib import register_ray

    cluster.start()
    register: Any = register_ray  # not typed
    register()
    remote: dict[str, Any] = {"num_cpus": resources.cpu, "num_gpus": resources.gpu}
    with joblib.parallel_config(backend="ray", n_jobs=cluster.slots, ray_remote_args=remote):
        yield


@contextmanager
def on_ray(
    address: str | None = None, jobs: int | Literal["auto"] = "auto", resources: Resources = ONE_CORE
) -> Iterator[None]:
    """The same outside a run: on Ray as it runs in this process, else on the cluster at ``address``, else on a local
    one that ends with the context; ``jobs`` at a time, by default as many as there is room for.

    Raises as Cluster.start, which takes the signals meanwhile: call it in the main thread.
    """
    with tempfile.TemporaryDirectory(prefix="sweepstack-") as scratch:
        cluster = Cluster(RunFolder(Path(scratch)), address, concurrency=jobs, resources=resources)
        with closing(cluster), joblib_on(cluster, resources):
            yield

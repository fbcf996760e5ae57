"""How many trials fit: numbers by hand, on machines that are made up."""

import pytest

from sweepstack.models.errors import StudyError
from sweepstack.search.execution import capacity
from sweepstack.search.execution.capacity import check_device, slots, trials_on
from sweepstack.search.study.search_section import Resources


@pytest.mark.parametrize(
    ("cpu", "gpu", "needs", "fitting"),
    [
        (2, 0, Resources(), 2),
        (8, 0, Resources(cpu=3.0), 2),
        (1, 0, Resources(cpu=2.0), 0),
        (1, 0, Resources(cpu=0.1), 10),  # not 9: a tenth is not exact in binary
        (8, 2, Resources(gpu=1.0), 2),
        (8, 3, Resources(gpu=2.0), 1),
        (8, 2, Resources(gpu=0.4), 4),  # two to a GPU: the third would need two halves
        (2, 4, Resources(gpu=1.0), 2),
        (8, 0, Resources(gpu=0.5), 0),
    ],
)
def test_trials_fit_by_cores_and_gpus(cpu: float, gpu: float, needs: Resources, fitting: int) -> None:
    assert trials_on(cpu, gpu, needs) == fitting


def test_slots_are_what_fits_at_least_one_or_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "cpus", lambda: 4)
    assert slots("auto", Resources(cpu=2.0)) == 2
    assert slots("auto", Resources(cpu=16.0)) == 1
    assert slots(7, Resources()) == 7


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "gpus", lambda: 0)
    for concurrency in ("auto", 2):
        with pytest.raises(StudyError, match=r"search\.resources\.gpu is 1 a trial, and this machine has 0; lower it"):
            slots(concurrency, Resources(gpu=1.0))  # type: ignore[arg-type]


NO_GPU, HALF = Resources(), Resources(gpu=0.5)


@pytest.mark.parametrize(
    ("device", "resources", "machines", "words"),
    [
        ("auto", NO_GPU, None, None),
        ("cpu", NO_GPU, [0, 0], None),
        ("cuda", NO_GPU, None, "no CUDA device on this machine; take auto or cpu"),
        ("cuda", HALF, [0, 0], "no machine of the cluster has a GPU"),
        ("cuda", NO_GPU, [0, 1], "set search.resources.gpu"),
        ("cuda", HALF, [0, 1], None),
        ("cuda", NO_GPU, [1, 4], None),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    device: str, resources: Resources, machines: list[float] | None, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    if words is None:
        check_device(device, resources, machines)
    else:
        with pytest.raises(StudyError, match=f"^device is cuda, .*{words}"):
            check_device(device, resources, machines)


def test_the_cores_are_at_most_those_of_the_machine() -> None:
    import os

    assert 1 <= capacity.cpus() <= (os.cpu_count() or 1)

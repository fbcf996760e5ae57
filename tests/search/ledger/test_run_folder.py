from pathlib import Path

from sweepstack.search.ledger.run_folder import RunFolder


def places(run: RunFolder) -> dict[str, Path]:
    """Everything that the folder knows a place for, by the name of its property or method."""
    below = ("root", "repetition", "of", "at")  # where something lies inside a trial's folder
    names = [name for name in vars(RunFolder) if not name.startswith("_") and name not in below]
    found = {name: getattr(run, name) for name in names}
    of = {"trial": (7,), "supervised": (7,), "confirmation": (7, 1), "pipeline": ("naive_bayes",)}
    return {name: place(*of[name]) if callable(place) else place for name, place in found.items()}


def test_the_layout_is_that_of_the_contract() -> None:
    run = RunFolder(Path("/runs/quickstart"))
    assert {name: str(place.relative_to(run.root)) for name, place in places(run).items()} == {
        "study": "study.yaml",
        "provenance": "provenance.json",
        "ledger": "ledger.log",
        "log": "log.txt",
        "leaderboard": "leaderboard.csv",
        "ensembles": "ensembles.csv",
        "calibration": "calibration.safetensors",
        "trust": "trust.json",
        "examples": "examples.json",
        "report": "report.html",
        "bundle": "bundle",
        "student": "student",
        "starts": "starts",
        "refits": "refits",
        "soups": "soups",
        "decoded": "decoded",
        "pipeline": "company/naive_bayes",
        "requests": "requests",
        "trial": "trials/7",
        "confirmation": "confirmation/7/1",
        "linear": "company/linear",
        "memory": "company/memory",
        "supervised": "company/supervised/7",
    }


def test_nothing_lies_in_or_at_another_thing() -> None:
    found = list(places(RunFolder(Path("run"))).values())
    for one in found:
        assert not any(one == other or one in other.parents for other in found if other is not one)


def test_asking_for_a_place_makes_nothing(tmp_path: Path) -> None:
    places(RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_pages_of_a_finished_run_lie_where_the_folder_says(finished_run: Path) -> None:
    run = RunFolder(finished_run)
    missing = {name for name, place in places(run).items() if not place.exists()}
    assert missing == {
        "starts",
        "refits",
        "soups",
        "pipeline",
        "student",
        "trial",
        "supervised",
        "confirmation",
        "requests",
        "memory",
        "decoded",
        "examples",
    }  # linear members only, no trial 7, and nothing is written
    hidden = {path.name for path in finished_run.iterdir() if path.name.startswith(".")}
    assert hidden <= {".ledger.log.lock", ".tune"}, "a run leaves no half-written files"

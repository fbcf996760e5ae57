"""The public names: those of the three packages' ``__all__``, and every import that the README shows."""

import ast
import importlib
import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
PUBLIC = {
    "sweepstack.models": {"PolicyClassifier"},
    "sweepstack.ensembles": {"load"},
    "sweepstack.search": {"Result", "Study", "on_ray"},
}
DOCUMENTED = {
    "sweepstack.search": {"Study"},
    "sweepstack.ensembles": set(),
    "sweepstack.ensembles.policy_classifier": {"PolicyClassifier"},
    "sweepstack.search.joblib_backend": {"on_ray"},
}
LOGGED = {
    "sweepstack.ensembles.bundle": {"Bundle", "load"},
    "sweepstack.ensembles.input_texts": {"texts_of"},
    "sweepstack.ensembles.writing_bundle": {"WritingBundle", "load"},
    "sweepstack.ensembles.bundles.bundle": {"Bundle", "load"},
    "sweepstack.ensembles.bundles.input_texts": {"texts_of"},
    "sweepstack.ensembles.bundles.writing_bundle": {"WritingBundle", "load"},
}
"""What the scripts that MLflow keeps with a model import; those of models logged earlier, too."""


def shown() -> dict[str, set[str]]:
    """What the README's Python blocks import of ours."""
    found: dict[str, set[str]] = {}
    for block in re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                found |= {alias.name: set() for alias in node.names if alias.name.startswith("sweepstack")}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sweepstack"):
                found.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
    return found


def test_the_readme_shows_what_is_pinned_here() -> None:
    assert shown() == DOCUMENTED


@pytest.mark.parametrize("script", ["pyfunc", "writing_pyfunc"])
def test_the_scripts_in_mlflow_import_nothing_else(script: str) -> None:
    tree = ast.parse((README.parent / "ensembles" / "bundles" / f"{script}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sweepstack"):
            assert {alias.name for alias in node.names} <= LOGGED[str(node.module)]


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_exports_its_public_names(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        module.nothing_of_the_kind  # noqa: B018


@pytest.mark.parametrize(("module", "names"), [*DOCUMENTED.items(), *LOGGED.items()])
def test_a_path_that_others_import_leads_to_its_names(module: str, names: set[str]) -> None:
    found = importlib.import_module(module)
    assert all(hasattr(found, name) for name in names)


def test_the_names_of_a_study_and_its_results_stay() -> None:
    search, ensembles = importlib.import_module("sweepstack.search"), importlib.import_module("sweepstack.ensembles")
    assert {"load", "run"} <= set(dir(search.Study))
    assert {"leaderboard", "ensembles", "ensemble", "status", "write_report"} <= set(dir(search.Result))
    assert callable(ensembles.load)
    bundle = importlib.import_module("sweepstack.ensembles.bundles.bundle").Bundle
    assert {"predict", "predict_proba", "read", "predict_set"} <= set(dir(bundle))

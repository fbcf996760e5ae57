"""The house rules: imports run one way, and every file is importable under its mapped name."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "models": {"forbidden": {"ray", "optuna", "mlflow", "sweepstack.ensembles", "sweepstack.search"}},
    "ensembles": {"forbidden": {"ray", "optuna", "sweepstack.search"}},
    "search": {"forbidden": set()},
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_run_from_search_over_ensembles_to_models(path: Path) -> None:
    forbidden = ROOMS[path.parent.name]["forbidden"]
    broken = {name for name in imported(path) if any(under(name, package) for package in forbidden)}
    assert not broken


def test_only_the_pyfunc_scripts_of_ensembles_know_mlflow() -> None:
    users = {p.name for p in (ROOT / "ensembles").glob("*.py") if any(under(n, "mlflow") for n in imported(p))}
    assert users <= {"pyfunc.py", "writing_pyfunc.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_is_importable_under_its_mapped_name(path: Path) -> None:
    name = f"sweepstack.{path.parent.name}" + ("" if path.stem == "__init__" else f".{path.stem}")
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).resolve() == path.resolve(), "install again: pip install -e '.[test]'"


def test_the_rooms_are_flat() -> None:
    nested = [p for room in ROOMS for p in (ROOT / room).iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert not nested, "a nested package would have to be listed by hand in pyproject.toml"


def test_the_map_in_the_readme_has_every_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme[readme.index("<!-- map -->") : readme.index("<!-- /map -->")]
    missing = [f"{p.parent.name}/{p.name}" for p in FILES if p.stem != "__init__" and f"| {p.name} |" not in shown]
    assert not missing

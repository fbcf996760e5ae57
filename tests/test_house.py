"""The house rules: imports run one way, between folders and between rooms, and every file is importable and packed.

A room is a sub-package of a folder. ``ROOMS`` has them lowest first: a file may import its own room and those before
it, of its own folder and of the folders before that. Imports for types alone and imports within functions count, too.
"""

import ast
import fnmatch
import importlib.util
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "models": (
        "settings",
        "predictions",
        "data",
        "networks",
        "optim",
        "rl",
        "baselines",
        "training",
        ("tasks.classification", "tasks.gymnasium", "tasks.writing"),  # equals: none imports another
        "tasks",
    ),
    "ensembles": ("members", "scoring", "combinations", "refits", "builders", "evaluation", "bundles"),
    "search": (
        "study",
        "ledger",
        "samplers",
        "stoppers",
        "execution",
        "tracking",
        "report",
        "run",
        "ensembling",
    ),
}
GROUND = {"models": {"checksums", "errors", "files", "recent", "seeds"}, "ensembles": set(), "search": {"format"}}
"""Files at the root of a folder that lie below its rooms; all others there are doors, above them."""
FORBIDDEN = {
    "models": {"ray", "optuna", "mlflow", "sweepstack.ensembles", "sweepstack.search"},
    "ensembles": {"ray", "optuna", "sweepstack.search"},
    "search": set(),
}
EXCEPTIONS: set[tuple[str, str]] = set()
"""Imports that run upwards all the same, as (file, imported file). It may only shrink."""
MOST_FILES = 25  # of a room, beside its __init__.py
FILES = [path for folder in ROOMS for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    """The dotted name of a file, less ``sweepstack.``: ``models.rl.gae``; a room's own is that of its __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = {name_of(path): path for path in FILES}
FLAT = {
    folder: [r for step in steps for r in ([step] if isinstance(step, str) else step)]
    for folder, steps in ROOMS.items()
}
ALL_ROOMS = [f"{folder}.{room}" for folder, rooms in FLAT.items() for room in rooms]


@cache
def imported(path: Path) -> frozenset[str]:
    """Every dotted name that a file imports, for types and within functions, too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{label(path)}:{node.lineno} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def files_imported(path: Path) -> set[str]:
    """The files of ours among them, by their dotted names."""
    own = [name.removeprefix("sweepstack.") for name in imported(path) if under(name, "sweepstack")]
    return {name if name in MODULES else name.rpartition(".")[0] for name in own}


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room_of(name: str) -> str:
    """``models.rl`` of ``models.rl.gae`` and of itself; the folder of a file at its root."""
    return name if name in ALL_ROOMS or name in ROOMS else name.rpartition(".")[0]


def height(name: str) -> tuple[int, int]:
    """Where a file stands: the place of its folder, and in it that of its room; equals have the same."""
    folder, _, rest = name.partition(".")
    room = room_of(name).partition(".")[2]
    steps = [step if isinstance(step, tuple) else (step,) for step in ROOMS[folder]]
    if room:
        place = next(place for place, step in enumerate(steps, start=1) if room in step)
    else:
        place = 0 if rest in GROUND[folder] else len(steps) + 1
    return list(ROOMS).index(folder), place


def runs_upwards(name: str, other: str) -> bool:
    equals = height(other) == height(name) and room_of(other) != room_of(name)
    return height(other) > height(name) or equals


def circles(arrows: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The groups of several files that all reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> Iterator[list[str]]:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for other in sorted(arrows[name]):
            if other not in index:
                yield from visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])
        if lowest[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                yield sorted(group)

    for name in sorted(arrows):
        if name not in index:
            yield from visit(name)


def test_circles_are_found() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": {"e"}}
    assert list(circles(arrows)) == [["b", "c"]]


@pytest.mark.parametrize(
    ("name", "other", "upwards"),
    [
        ("models.rl.gae", "models.settings.trial", False),
        ("models.settings.trial", "models.rl.gae", True),
        ("models.rl.gae", "models.errors", False),
        ("models.errors", "models.rl.gae", True),
        ("models.rl.gae", "models.rl.episodes", False),
        ("models.tasks.writing.stage", "models.tasks.classification.stage", True),
        ("models.tasks.trainers", "models.tasks.writing.stage", False),
        ("models.tasks.writing.stage", "models.tasks.trainers", True),
        ("models", "models.tasks.writing.stage", False),
        ("ensembles.members.library", "models", False),
        ("ensembles.members.library", "ensembles", True),
        ("models.rl.gae", "ensembles.members.library", True),
        ("search.pipeline", "search.run.session", False),
        ("search.run.session", "search.pipeline", True),
    ],
)
def test_what_runs_upwards(name: str, other: str, upwards: bool) -> None:
    assert runs_upwards(name, other) is upwards


@pytest.mark.parametrize("path", FILES, ids=label)
def test_imports_run_from_search_over_ensembles_to_models(path: Path) -> None:
    forbidden = FORBIDDEN[path.relative_to(ROOT).parts[0]]
    broken = {name for name in imported(path) if any(under(name, package) for package in forbidden)}
    assert not broken


@pytest.mark.parametrize("path", FILES, ids=label)
def test_imports_run_downwards_between_rooms(path: Path) -> None:
    name = name_of(path)
    upwards = {other for other in files_imported(path) if other != name and runs_upwards(name, other)}
    assert upwards == {other for one, other in EXCEPTIONS if one == name}


def test_no_circle_of_files() -> None:
    assert not list(circles({name: files_imported(path) for name, path in MODULES.items()}))


def test_only_the_pyfunc_scripts_of_ensembles_know_mlflow() -> None:
    users = {p.name for p in (ROOT / "ensembles").rglob("*.py") if any(under(n, "mlflow") for n in imported(p))}
    assert users <= {"pyfunc.py", "writing_pyfunc.py"}


@pytest.mark.parametrize("path", FILES, ids=label)
def test_every_file_is_importable_under_its_mapped_name(path: Path) -> None:
    spec = importlib.util.find_spec(f"sweepstack.{name_of(path)}")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).resolve() == path.resolve(), "install again: pip install -e '.[test]'"


def test_every_folder_of_files_is_a_room_with_a_place_in_the_order() -> None:
    assert sorted({name_of(path.parent / "__init__.py") for path in FILES}) == sorted([*ROOMS, *ALL_ROOMS])


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_a_room_is_small_and_says_what_belongs_there(room: str) -> None:
    folder = ROOT / room.replace(".", "/")
    files = [path for path in folder.glob("*.py") if path.stem != "__init__"]
    assert 0 < len(files) <= MOST_FILES, f"{room} has {len(files)} files; it wants rooms of its own"
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert "May import: " in said
    assert len(said.splitlines()) >= 4, "a line of what it is, what it may import, and where a new sibling goes"


def packed() -> dict[str, list[str]]:
    """The packages of pyproject.toml with the patterns of their other files."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns: dict[str, list[str]] = tool["package-data"]
    return {name: [*patterns["*"], *patterns.get(name, [])] for name in tool["packages"]}


def test_every_room_is_packed() -> None:
    assert sorted(packed()) == sorted(f"sweepstack.{name}" for name in [*ROOMS, *ALL_ROOMS])


def test_every_other_file_is_packed() -> None:
    others = [
        p for folder in ROOMS for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")
    ]
    assert {"py.typed", "report.html"} <= {path.name for path in others}
    for path in others:
        package = next(parent for parent in path.parents if (parent / "__init__.py").exists())
        patterns = packed()[f"sweepstack.{name_of(package / '__init__.py')}"]
        inside = str(path.relative_to(package))
        assert any(fnmatch.fnmatch(inside, pattern) for pattern in patterns), f"{label(path)} is in no package-data"


def test_the_map_in_the_readme_has_every_room_in_its_order() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme[readme.index("<!-- map -->") : readme.index("<!-- /map -->")]
    lines = []
    for room in ALL_ROOMS:
        path = ROOT / room.replace(".", "/") / "__init__.py"
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"| {room.replace('.', '/')}/ | {said.splitlines()[0].partition(': ')[2]} |")
    missing = [line for line in lines if line not in shown]
    assert not missing
    places = [shown.index(line) for line in lines]
    for folder, rooms in FLAT.items():
        own = [place for place, room in zip(places, ALL_ROOMS, strict=True) if room.startswith(folder + ".")]
        assert len(own) == len(rooms)
        assert all(one < other for one, other in pairwise(own))

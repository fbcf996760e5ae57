"""What a bundle says of itself: where it comes from, what it was measured at, and how to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.scoring.conformal import Calibration
from sweepstack.models.data.tables import LabelType
from sweepstack.models.predictions.number_format import score

PACKAGES = ("sweepstack", "torch", "numpy", "safetensors", "tokenizers", "snowballstemmer", "scikit-learn")
PARTS = ("valid", "blend", "test")
CROSS_FITTED = "What is fitted on blend is scored there by 5-fold cross-fitting; test was never chosen on."
OUT_OF_FOLD = (
    "A member is the mean of {folds} policies, each trained without another part of the rows. Blend are all rows, each "
    "as said by the policy that has not seen it. What is fitted on some of these parts is scored on the others, and so "
    "is the choice of the best trial; valid is the same without that choice. Test was never chosen on."
)
COSTS = "Wrong answers differ in their costs, see `bundle.json`: it gives the label that costs least in expectation."
SETS = "`predict_set` and `sweepstack predict --coverage` give sets of labels. {promise}"
USAGE = """```python
from sweepstack.ensembles import load

bundle = load("bundle")
bundle.predict(["some text"])
```"""


PICKED_BY = (
    "Texts are picked by their {utility} with each other, so of the figures below those in other metrics say more of "
    "what was gained."
)
USAGE_OF_TEXTS = """```python
from sweepstack.ensembles import load

bundle = load("bundle")
bundle.write(["some text"])
```"""
HOW_TEXTS_COME = {
    "single": "It is one member alone.",
    "token_average": "Its members write together: at every step the mean of what they say of the next token.",
    "minimum_bayes_risk": "Each member proposes texts, and the one that is most like the others is taken.",
    "reranker": "Each member proposes texts, and a linear model, fitted on blend, takes one.",
}


@dataclass(frozen=True)
class Card:
    """What the ensembles room cannot know by itself of a bundle."""

    name: str  # of the study
    task: str
    classes: tuple[str, ...]
    input_column: str
    reading: Mapping[str, Any] | None  # the study's reading settings; None for off
    data: Mapping[str, str]  # content hashes, by part
    costs: Sequence[Sequence[float]] | None = None  # [right][answered], in the order of classes
    digest: str = ""  # of all that the ensemble was built from, by which a run knows its own export again
    label_type: LabelType = "text"  # what a class is in the data: see models/data/tables.py
    folds: int = 1  # policies in a member, each trained with other rows held out


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of Python and these packages, by default those that a bundle's predictions depend on, as installed here."""
    found = {"python": python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def markdown(card: Card, row: Row, installed: Mapping[str, str], calibration: Calibration | None = None) -> str:
    """The bundle's README.md; ``calibration``: of its sets of labels."""
    reading = "each text at once"
    if card.reading is not None:
        reading = (
            f"{card.reading['segment']} {card.reading['unit']} at a time, "
            f"at most {card.reading['max_segments']} times; stop: {row.stop}"
        )
    about = [
        f"A {card.task} ensemble built by Sweepstack ({row.method}). It reads {reading}.",
        f"Input column: `{card.input_column}`. Classes ({len(card.classes)}): {', '.join(card.classes)}.",
        *([] if card.costs is None else [COSTS]),
        *([] if calibration is None else [SETS.format(promise=calibration.promise)]),
        USAGE,
    ]
    return _page(card, row, installed, about)


def markdown_of_texts(card: Card, row: Row, installed: Mapping[str, str], kind: str) -> str:
    """The README.md of a bundle that writes; ``kind``: of its combination."""
    about = [
        f"A {card.task} ensemble built by Sweepstack ({row.method}). {HOW_TEXTS_COME[kind]}",
        f"Input column: `{card.input_column}`.",
        *([PICKED_BY.format(utility=row.utility)] if row.utility else []),
        USAGE_OF_TEXTS,
    ]
    return _page(card, row, installed, about)


def _page(card: Card, row: Row, installed: Mapping[str, str], about: Sequence[str]) -> str:
    weights = [""] * len(row.members) if row.weights is None else [score(weight) for weight in row.weights]
    members = list(zip(row.members, weights, strict=True))
    figures = row.blend or row.test or {}  # a refit on all rows but test has no other figures
    return "\n\n".join(
        [
            f"# {card.name}: {row.name}",
            *about,
            "## Measured",
            CROSS_FITTED if card.folds == 1 else OUT_OF_FOLD.format(folds=card.folds),
            _table(["metric", *PARTS], [[name, *(_figure(row, part, name) for part in PARTS)] for name in figures]),
            "## Members",
            _table(["member", "weight"], members),
            "## Data",
            _table(["part", "hash of its rows"], list(card.data.items())),
            "## Versions",
            _table(["package", "version"], list(installed.items())),
            "Every file's SHA-256 stands in `SHA256SUMS`; a bundle with a changed, missing or extra file is refused.\n",
        ]
    )


def _figure(row: Row, part: str, metric: str) -> str:
    figures: dict[str, float] | None = getattr(row, part)
    if figures is None:
        return "not scored"
    if metric not in figures:
        return ""
    widths = row.test_interval if part == "test" and row.test_interval else {}
    return score(figures[metric], 4) + (f" ± {score(widths[metric], 4)}" if metric in widths else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)

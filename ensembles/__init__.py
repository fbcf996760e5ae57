"""What combines trained policies into one ensemble, and the bundle that holds it.

``load(folder)`` opens an exported bundle. Nothing heavy is imported until it is called.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweepstack.ensembles.bundle import Bundle
    from sweepstack.ensembles.writing_bundle import WritingBundle

__all__ = ["load"]


def load(folder: str | Path) -> "Bundle | WritingBundle":
    """The bundle in ``folder``, ready to predict, or to write where that is what its study was for.

    Raises BundleError where it is incomplete or was changed.
    """
    if _kind(Path(folder)) == "writing":
        from sweepstack.ensembles.writing_bundle import load as load_writing_bundle

        return load_writing_bundle(Path(folder))
    from sweepstack.ensembles.bundle import load as load_bundle

    return load_bundle(Path(folder))


def _kind(folder: Path) -> object:
    """As bundle.json says, which is not checked yet; None where it says nothing."""
    try:
        return json.loads((folder / "bundle.json").read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        return None

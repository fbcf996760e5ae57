"""What combines trained policies into one ensemble, and the bundle that holds it.

Public name: ``load``, which opens an exported bundle; nothing heavy is imported until it is called. The files at this
root are paths that programs and models in MLflow import; what they lead to lies in the rooms.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweepstack.models.files import read_json, user_path

if TYPE_CHECKING:
    from sweepstack.ensembles.bundles.bundle import Bundle
    from sweepstack.ensembles.bundles.writing_bundle import WritingBundle

__all__ = ["load"]


def load(folder: str | Path) -> "Bundle | WritingBundle":
    """The bundle in ``folder``, ready to predict, or to write where that is what its study was for.

    Raises BundleError where it is incomplete or was changed.
    """
    folder = user_path(folder)
    if _kind(folder) == "writing":
        from sweepstack.ensembles.bundles.writing_bundle import load as load_writing_bundle

        return load_writing_bundle(folder)
    from sweepstack.ensembles.bundles.bundle import load as load_bundle

    return load_bundle(folder)


def _kind(folder: Path) -> object:
    """As bundle.json says, which is not checked yet; None where it says nothing, or is no plain file."""
    try:
        return read_json(folder / "bundle.json").get("kind")
    except (OSError, ValueError, AttributeError):
        return None

"""What combines trained policies into one ensemble, and the bundle that holds it.

``load(folder)`` opens an exported bundle. Nothing heavy is imported until it is called.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweepstack.ensembles.bundle import Bundle

__all__ = ["load"]


def load(folder: str | Path) -> "Bundle":
    """The bundle in ``folder``, ready to predict; raises BundleError where it is incomplete or was changed."""
    from sweepstack.ensembles.bundle import load as load_bundle

    return load_bundle(Path(folder))

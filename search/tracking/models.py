"""A bundle as a logged model of MLflow 3: its folder as it stands, and a script of ensembles/ to load it; no pickle.

The signature comes from bundle.json and the requirements from the versions in it, so nothing is loaded or run and no
environment is inferred in a subprocess: about 0.4 s for the first model of a process, 0.05 s for the next.
"""

import hashlib
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models.errors import BundleError
from sweepstack.models.files import read_json
from sweepstack.models.settings.writing import LAGGING
from sweepstack.search.tracking.store import local_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "sweepstack.bundle"
LABELS = {"text": "string", "int": "long", "bool": "boolean"}  # MLflow's types


def bundle_digest(bundle: Path) -> str:
    """16 characters that change with any byte of the bundle; raises BundleError where it is not whole."""
    try:
        return hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise BundleError(f"{bundle} is no whole bundle ({error.strerror}); export it again") from error


def log_bundle(client: "MlflowClient", experiment_id: str, run_id: str, name: str, bundle: Path) -> str:
    """The id of the run's logged model that holds ``bundle``: what is there already, or a new one.

    A model that a killed process left half-written is deleted.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    digest = bundle_digest(bundle)
    for model in client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"):
        if model.status != LoggedModelStatus.READY:
            client.delete_logged_model(model.model_id)
        elif model.tags.get(TAG) == digest:
            return str(model.model_id)
    model = client.create_logged_model(
        experiment_id, re.sub(r"[/:.%\"']", "-", name), source_run_id=run_id, tags={TAG: digest}, model_type="ensemble"
    )
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "model")
        _save(saved, bundle, model.model_id, run_id, model.artifact_location)
        client.log_model_artifacts(model.model_id, str(saved))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def _save(folder: Path, bundle: Path, model_id: str, run_id: str, location: str) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    card = read_json(bundle / "bundle.json")
    texts: list[Any] = [ColSpec("string", card["input_column"])]
    params: Any = None
    if card.get("kind") == "writing":
        script = "writing_pyfunc"
        types = {"text": "string", "score": "double", "cut": "boolean", "candidates": "string"}
        types |= {LAGGING: "double"} if LAGGING in card["metrics"]["blend"] else {}
        params = ParamSchema([ParamSpec("candidates", DataType.long, 1)])
    else:
        numbers = ["probability", *(f"probability_{name}" for name in card["classes"])]
        script, types = (
            "pyfunc",
            {"label": LABELS[card.get("label_type", "text")], "segments": "long", **dict.fromkeys(numbers, "double")},
        )
    outputs: list[Any] = [ColSpec(kind, name) for name, kind in types.items()]
    spec = importlib.util.find_spec(f"sweepstack.ensembles.bundles.{script}")
    assert spec is not None
    mlflow.pyfunc.save_model(
        str(folder),
        mlflow_model=Model(artifact_path=location, model_uuid=model_id, model_id=model_id, run_id=run_id),
        python_model=spec.origin,
        artifacts={"bundle": local_uri(bundle.absolute())},
        signature=ModelSignature(Schema(texts), Schema(outputs), params),
        input_example=pd.DataFrame({card["input_column"]: ["some text"]}),
        pip_requirements=_requirements(card["versions"]),
    )


def _requirements(versions: dict[str, Any]) -> list[str]:
    """``torch==2.13.0`` for torch 2.13.0+cpu: the part after the plus is no release that pip finds."""
    found = {name: str(version) for name, version in versions.items() if name != "python"}
    return [f"{name}=={version.partition('+')[0]}" for name, version in found.items() if version[:1].isdigit()]

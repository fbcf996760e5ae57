"""Where a run comes from: versions, data hashes and calibrations, kept in provenance.json from its first session on."""

from typing import Any

from sweepstack.ensembles.bundles.card import versions
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.data.pairs import PairDataset
from sweepstack.models.errors import DataError
from sweepstack.search.ledger.run_folder import RunFolder, read_provenance

PACKAGES = ("sweepstack", "torch", "ray", "optuna", "mlflow", "scikit-learn", "tokenizers", "safetensors", "numpy")


def provenance(
    dataset: Dataset | PairDataset | None, played: dict[str, Any] | None, folder: RunFolder, reward: str | None = None
) -> dict[str, Any]:
    """Versions, data hashes and what was noticed while loading, or the environment, kept from the first session on.
    ``reward``: the hash of the bundle that texts are rewarded by."""
    known = read_provenance(folder) if folder.provenance.exists() else {}
    installed = versions((*PACKAGES, *_of_its_own(dataset)))
    found: dict[str, Any] = {"versions": installed}
    if dataset is not None:
        found["data"] = {
            "hashes": dataset.hashes,
            "rows": dataset.sizes,
            "classes": list(dataset.classes),
            "notes": list(dataset.notes),
            "most_words": dataset.text.max_words if isinstance(dataset, Dataset) else None,
        }
        if isinstance(dataset, Dataset):
            found["data"]["label_type"] = dataset.label_type
    if reward is not None:
        found["reward"] = reward
    if played is not None:
        found["environment"] = played
    found |= {name: known[name] for name in ("precision", "packing") if name in known}
    return {**found, "first_versions": known.get("first_versions", installed)}


def _of_its_own(dataset: Dataset | PairDataset | None) -> tuple[str, ...]:
    """The packages that only this task needs: what plays, what measures BLEU."""
    if dataset is None:
        return ("gymnasium",)
    return ("sacrebleu",) if isinstance(dataset, PairDataset) else ()


def check_provenance(folder: RunFolder, dataset: Dataset | PairDataset, reward: str | None = None) -> None:
    """Raises DataError where a run goes on with other data, or texts would be rewarded by another bundle."""
    if folder.provenance.exists():
        stored = read_provenance(folder)
        if stored.get("reward", reward) != reward:
            raise DataError(
                f"the bundle that rewards the texts of {folder.root} has changed since the study began (hash "
                f"{stored['reward']}, now {reward}); restore it, or start afresh with --out"
            )
        known = stored["data"]["hashes"]
        if known != dataset.hashes:
            raise DataError(
                f"the data of {folder.root} has changed since the study began, or another version divided it by other "
                f"rules (content {known['content']}, now {dataset.hashes['content']}); restore it, or start afresh "
                "with --out"
            )

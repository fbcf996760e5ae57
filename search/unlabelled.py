"""The texts without labels that a student may learn from, too: ``ensembles.distill.text``."""

from pathlib import Path

from sweepstack.models.data import Dataset
from sweepstack.models.errors import DataError
from sweepstack.models.rows import read_inputs
from sweepstack.search.study import Study


def unlabelled(study: Study, dataset: Dataset) -> tuple[str, ...]:
    """The texts of ``ensembles.distill.text``, each once, without those that something is scored on; raises DataError
    where the file cannot be read."""
    distill = study.ensembles.distill
    if distill is None or distill.text is None or study.data is None:
        return ()
    path = Path(distill.text)
    if path.suffix == ".txt":
        try:
            texts = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"ensembles.distill.text: {path} cannot be read as UTF-8 text ({error})") from error
    else:
        texts = read_inputs(path, study.data.input)
    scored = {
        text for name in ("valid", "blend", "test") if name in dataset.parts for text in dataset.parts[name].inputs
    }
    return tuple(dict.fromkeys(text for text in texts if text.strip() and text not in scored))

"""The texts without labels that a student may learn from, too: ``ensembles.distill.text``."""

from pathlib import Path

from sweepstack.models.data.encoding import TaskData
from sweepstack.models.data.file_formats import suffix_of
from sweepstack.models.data.labelled import OUT_OF_FOLD, Dataset
from sweepstack.models.data.same_input import unlike
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.data.tables import read_inputs
from sweepstack.models.data.text_files import lines_of
from sweepstack.models.errors import DataError
from sweepstack.search.study.study import Study

SCORED = ("valid", "blend", OUT_OF_FOLD, "test")


def unlabelled(study: Study, dataset: Dataset, data: TaskData) -> tuple[str, ...]:
    """The texts of ``ensembles.distill.text``, each once, without those that are the same input as one that something
    is scored on; raises DataError where the file cannot be read. ``data``: the dataset, encoded."""
    distill = study.ensembles.distill
    if distill is None or distill.text is None or study.data is None:
        return ()
    path = Path(distill.text)
    try:
        texts = list(lines_of(path)) if suffix_of(path) == ".txt" else read_inputs(path, study.data.input)
    except OSError as error:
        raise DataError(f"ensembles.distill.text: {path} cannot be read ({error.strerror or error})") from error
    except DataError as error:
        raise DataError(f"ensembles.distill.text: {error}") from error
    scored = [text for name in SCORED if name in dataset.parts for text in dataset.parts[name].inputs]
    readers = [TextReader.from_json(each.reader) for each in data.folds or (data,)]
    return tuple(unlike([text for text in dict.fromkeys(texts) if text.strip()], scored, readers))

"""What a run knows of its study's texts: as they were read and split, and encoded for those who train.

Texts that are answered with labels and pairs of texts are loaded by modules of their own; the rest of a run asks here.
"""

from sweepstack.models.data.encoding import TaskData, encode
from sweepstack.models.data.labelled import Dataset, load_dataset
from sweepstack.models.data.pairs import PairDataset, WritingData, encode_pairs, load_pairs
from sweepstack.search.study.study import Study


def load_texts(study: Study) -> Dataset | PairDataset | None:
    """Reads, checks and splits; raises DataError in one line. An environment has no texts."""
    if study.data is None:
        return None
    if study.writes:
        assert study.writing is not None
        return load_pairs(study.data, study.task, study.writing, study.reading)
    return load_dataset(study.data, study.reading)


def encode_texts(study: Study, texts: Dataset | PairDataset) -> TaskData | WritingData:
    """Raises DataError in one line where pairs cannot be read or written."""
    if isinstance(texts, PairDataset):
        assert study.writing is not None
        return encode_pairs(texts, study.writing)
    return encode(texts, study.reading)


class HoldsTexts:
    """Of the run of a study: its texts, None in an environment, and the same encoded. What its task has not raises
    RuntimeError."""

    study: Study
    texts: Dataset | PairDataset | None
    encoded: TaskData | WritingData | None

    @property
    def dataset(self) -> Dataset:
        """Of classification."""
        if not isinstance(self.texts, Dataset):
            raise RuntimeError(f"task {self.study.task} has no {'labels' if self.texts else 'data'}")
        return self.texts

    @property
    def data(self) -> TaskData:
        """The same, encoded."""
        if not isinstance(self.encoded, TaskData):
            raise RuntimeError(f"task {self.study.task} has no {'labels' if self.encoded else 'data'}")
        return self.encoded

    @property
    def pairs(self) -> PairDataset:
        """Of a task that writes."""
        if not isinstance(self.texts, PairDataset):
            raise RuntimeError(f"task {self.study.task} writes nothing")
        return self.texts

    @property
    def written(self) -> WritingData:
        """The same, encoded."""
        if not isinstance(self.encoded, WritingData):
            raise RuntimeError(f"task {self.study.task} writes nothing")
        return self.encoded

    @property
    def hashes(self) -> dict[str, str]:
        """Of the rows of each part; none in an environment."""
        return {} if self.encoded is None else self.encoded.hashes

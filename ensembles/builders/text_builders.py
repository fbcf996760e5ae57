"""The registry of builders of texts: a new one is one file and one entry here."""

from collections.abc import Mapping
from typing import Any

from sweepstack.ensembles.builders.averaged_text import AveragedText
from sweepstack.ensembles.builders.minimum_bayes_risk import MinimumBayesRisk
from sweepstack.ensembles.builders.registry import make_of
from sweepstack.ensembles.builders.reranker import Reranker
from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.builders.writer_snapshots import WriterSnapshots
from sweepstack.ensembles.builders.writer_soup import WriterSoup

TEXT_BUILDERS: dict[str, type[TextBuilder]] = {
    each.name: each for each in (AveragedText, MinimumBayesRisk, Reranker, WriterSnapshots, WriterSoup)
}


def make_text_builder(spec: str | Mapping[str, Mapping[str, Any]]) -> TextBuilder:
    """The builder that a study of a task that writes names, as registry.make; raises StudyError."""
    return make_of(TEXT_BUILDERS, spec)

"""A study's task as the first line of its run says it: ``translates en → zh  rewarded by chrf``."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweepstack.models.settings.tasks import STUDY_DEFAULTS

if TYPE_CHECKING:
    from sweepstack.models.data.pairs import PairDataset
    from sweepstack.search.study.study import Study

LOOKED_AT = 500  # texts of a side
OTHER = "other"  # what a language is called that its script does not tell
ENGLISH = 0.02  # share of words that are "the"; no other language has one
PLAIN = {own["data"][side] for own in STUDY_DEFAULTS.values() for side in ("input", "target")}


def reading_words(study: "Study", classes: int | None, most: int | None = None) -> str:
    """Of classification; ``most``: how many words policies read, where they read at once and that is known."""
    assert study.data is not None
    kind = "languages" if study.data.train == "builtin:languages" else "labels"
    question = f"which of {classes} {kind} is it?" if classes else study.task
    if study.reading == "off":
        most = study.data.text.max_words or most
        return f"{question}  reads {f'up to {most} words' if most else 'each text'} at once"
    unit = {"characters": "letter", "words": "word", "tokens": "token"}[study.reading.unit]
    return f"{question}  reads {study.reading.segment} {unit}{'s' * (study.reading.segment > 1)} at a time"


def writing_words(study: "Study", languages: tuple[str, str] | None) -> str:
    """Of translation and generation; ``languages`` as :func:`languages_of` finds them."""
    assert study.writing is not None
    source, target = languages or ("source", "target")
    task = f"translates {source} → {target}" if study.task == "translation" else "writes a response"
    if study.reading != "off":
        words = "1 word" if study.reading.segment == 1 else f"{study.reading.segment} words"
        task += f" while it reads {words} at a time"
    return f"{task}  rewarded by {', '.join(term.name for term in study.writing.rewards)}"


def languages_of(study: "Study", pairs: "PairDataset") -> tuple[str, str]:
    """What a study's sources and references are called: as their columns, where these have names of their own, or as a
    language that shows in them."""
    assert study.data is not None
    part = pairs.parts["warm"]
    return named(study.data.input, part.inputs), named(study.data.target, part.references)


def named(column: str, texts: Sequence[str]) -> str:
    if column not in PLAIN:
        return column
    from sweepstack.models.predictions.text_metrics import language_of  # heavy

    language = language_of(texts[:LOOKED_AT])
    if language != OTHER:
        return language
    words = re.findall(r"\w+", " ".join(texts[:LOOKED_AT]).lower())
    return "en" if words.count("the") > ENGLISH * len(words) else column

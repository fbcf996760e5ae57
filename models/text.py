"""Cuts a text into segments and segments into token ids, the way a policy reads: from left to right, never ahead.

A text is a sequence of units, words or characters, and a segment is a fixed number of consecutive units. Where a unit
ends depends only on what stands before the next one begins, so the tokens of the raw text read so far are a prefix of
the tokens of the whole text: nothing leaks from a segment that has not been read.
"""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordLevelTrainer

from sweepstack.models.settings import Reading

FORMAT = 1
PADDING, UNKNOWN = 0, 1
WHOLE = Reading(unit="words", segment=128, max_segments=1)  # what `reading: off` reads, all at once
MAX_VOCABULARY = 20_000
MIN_FREQUENCY = 2  # a unit seen once teaches nothing but itself, and unknown units must be met in training too
UNIT_LENGTH = {"words": 8, "characters": 2}  # characters that a unit and the gap behind it seldom exceed
PATTERNS = {
    # Scripts written without spaces would make whole sentences one word: there each sign is one.
    "words": r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\w&&[^\p{Han}\p{Hiragana}\p{Katakana}]]+|[^\w\s]+",
    "characters": r"\s+|\S",  # however long a gap is, and whatever it consists of, it is one unit
}


@dataclass(frozen=True)
class Encoded:
    tokens: NDArray[np.int32]  # (rows, segments, width): 0 is padding, 1 an unknown unit
    n_segments: NDArray[np.int64]  # (rows,): at least 1


class TextReader:
    """Texts to token ids. Cheap to build from its own JSON; :meth:`fit` builds one from texts."""

    def __init__(self, tokenizer: Tokenizer, unit: Literal["words", "characters"], segment: int, max_segments: int):
        self.unit, self.segment, self.max_segments = unit, segment, max_segments
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = tokenizer.get_vocab()

    @classmethod
    def fit(cls, texts: Sequence[str], reading: Reading | Literal["off"]) -> "TextReader":
        """The vocabulary is the units of ``texts`` that can be reached within the reading's bound."""
        how = WHOLE if reading == "off" else reading
        split = Split(Regex(PATTERNS[how.unit]), behavior="removed", invert=True)
        untrained, tokenizer = Tokenizer(WordLevel(unk_token="[UNK]")), Tokenizer(WordLevel(unk_token="[UNK]"))
        untrained.pre_tokenizer = split
        cutter = cls(untrained, how.unit, how.segment, how.max_segments)
        trainer = WordLevelTrainer(
            vocab_size=MAX_VOCABULARY,
            min_frequency=MIN_FREQUENCY,
            special_tokens=["[PAD]", "[UNK]"],
            show_progress=False,
        )
        tokenizer.train_from_iterator((cutter.units(text) for text in texts), trainer)
        tokenizer.pre_tokenizer = split  # only now: what units() has cut must not be cut again
        return cls(tokenizer, how.unit, how.segment, how.max_segments)

    @property
    def vocab_size(self) -> int:
        """Number of ids, padding and unknown included."""
        return self._tokenizer.get_vocab_size()

    def segments(self, text: str) -> list[str]:
        """1 to ``max_segments`` pieces of raw text; a prefix of the list, joined, is the raw text read so far."""
        clean, spans = self._units(text)
        ends = [spans[min(i + self.segment, len(spans)) - 1][1] for i in range(0, len(spans), self.segment)] or [0]
        return [clean[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def prefix(self, text: str, n_segments: int) -> str:
        """The raw text that the first ``n_segments`` segments show."""
        return "".join(self.segments(text)[:n_segments])

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Token ids, padded to the text with the most segments. A text without units is one unknown unit."""
        ids = [self._encode_one(text) for text in texts]
        n_segments = np.array([-(-len(row) // self.segment) for row in ids], dtype=np.int64)
        tokens = np.zeros((len(ids), int(n_segments.max(initial=1)), self.segment), dtype=np.int32)
        for row, units in enumerate(ids):
            tokens[row].reshape(-1)[: len(units)] = units
        return Encoded(tokens, n_segments)

    def units(self, text: str) -> list[str]:
        """The units that can be read, lower-cased, each gap between characters as one space."""
        clean, spans = self._units(text)
        return [_normal(clean[begin:end]) for begin, end in spans]

    def to_json(self) -> str:
        """Everything that :meth:`from_json` needs: the reading and the tokenizer in its own format."""
        reading = {"unit": self.unit, "segment": self.segment, "max_segments": self.max_segments}
        content = {"format": FORMAT, "reading": reading, "tokenizer": json.loads(self._tokenizer.to_str())}
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def from_json(cls, content: str) -> "TextReader":
        """The reader that wrote ``content``; raises ValueError, KeyError or TypeError if that was none."""
        fields = json.loads(content)
        if fields["format"] != FORMAT:
            raise ValueError(f"a reader must have format {FORMAT}, but got {fields['format']!r}")
        try:
            tokenizer = Tokenizer.from_str(json.dumps(fields["tokenizer"]))
        except Exception as error:  # the package has no class of its own for it
            raise ValueError(f"its tokenizer cannot be read ({error})") from error
        return cls(tokenizer, **fields["reading"])

    def _units(self, text: str) -> tuple[str, list[tuple[int, int]]]:
        """The text in composed form without leading whitespace, and where in it each unit that can be read lies."""
        limit = self.segment * self.max_segments
        window = UNIT_LENGTH[self.unit] * limit + 64
        while True:  # a long text is looked at only as far as it is read
            clean = _clean(text[:window])
            spans: list[tuple[int, int]] = [span for _, span in self._tokenizer.pre_tokenizer.pre_tokenize_str(clean)]
            if len(spans) > limit or window >= len(text):  # the unit at the window's edge may go on behind it
                return clean, spans[:limit]
            window *= 4

    def _encode_one(self, text: str) -> list[int]:
        return [self._ids.get(unit, UNKNOWN) for unit in self.units(text)] or [UNKNOWN]


def _normal(unit: str) -> str:
    return " " if unit.isspace() else unit.lower()


def _clean(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half of a surrogate pair, which JSON can smuggle in
        text = unicodedata.normalize("NFC", text)
    return text.lstrip()

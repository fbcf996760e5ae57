"""Texts to tokens and back: byte-pair encodings (Sennrich et al. 2016) of what is read and of what is written.

A text falls into pieces that no merge crosses: a word with the space before it, a run of signs of a script without
spaces, or punctuation. Pieces joined are the text, so decoding gives back the cleaned text, character by character. A
text of words is encoded as if a space stood before it, so that a word is the same wherever it stands.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer

from sweepstack.models.data.cleaning import clean
from sweepstack.models.errors import DataError

FORMAT = 1
PADDING, UNKNOWN, BEGIN, END = 0, 1, 2, 3
SPECIAL = ["[PAD]", "[UNK]", "[BEGIN]", "[END]"]
SHOWN_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
MIN_FREQUENCY = 2  # of a pair that is merged: one that stands in a single place teaches only that place
# Written without spaces; the sound mark belongs to two scripts, and so to none by Unicode's property.
SIGNS = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
PIECE = rf"[{SIGNS}]+| ?[\w&&[^{SIGNS}]]+| ?[^\w\s]+|\s"
# The same signs for Python's re, which has no properties.
SIGN = re.compile(
    "[\u3005\u3006\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af]"
)


class Bpe:
    """A vocabulary and its merges. Cheap to build from its own JSON; :meth:`fit` builds one from texts."""

    def __init__(self, entries: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
        """entries: by their ids, SPECIAL first; raises ValueError where they do not fit together."""
        place = {entry: i for i, entry in enumerate(entries)}
        if list(entries[: len(SPECIAL)]) != SPECIAL or len(place) != len(entries):
            raise ValueError("the entries of a byte-pair encoding must be distinct, and the special ones come first")
        for left, right in merges:
            if not {left, right, left + right} <= place.keys():
                raise ValueError(f"the merge of {left!r} and {right!r} is not among the entries")
        self._entries, self._merges = tuple(entries), tuple(merges)
        # Special entries are no added tokens here: a text that spells one is read as any other.
        self._tokenizer = Tokenizer(BPE(vocab=place, merges=list(merges), unk_token=SPECIAL[UNKNOWN]))
        self._tokenizer.pre_tokenizer = _split()
        self.characters = frozenset(entry for entry in entries if len(entry) == 1)

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> "Bpe":
        """At most ``size`` entries, SPECIAL included, of which at most half are characters, the frequent ones.

        The same texts give the same encoding. Raises DataError where they have no character.
        """
        prepared = [_prepared(text) for text in texts]
        counts = Counter(character for text in prepared for character in text)
        if not counts:
            raise DataError("there is no text to fit a vocabulary on: every text is empty; give other data")
        most = max(size // 2, 1)
        alphabet = sorted(sorted(counts, key=lambda character: (-counts[character], character))[:most])
        tokenizer = Tokenizer(BPE(unk_token=SPECIAL[UNKNOWN]))
        tokenizer.pre_tokenizer = _split()
        trainer = BpeTrainer(
            vocab_size=size,
            min_frequency=MIN_FREQUENCY,
            special_tokens=SPECIAL,
            show_progress=False,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
        )
        tokenizer.train_from_iterator(iter(prepared), trainer)
        trained = json.loads(tokenizer.to_str())["model"]
        entries = sorted(trained["vocab"], key=trained["vocab"].__getitem__)
        return cls(entries, [(left, right) for left, right in trained["merges"]])

    @property
    def vocab_size(self) -> int:
        """Number of ids, the special ones included."""
        return len(self._entries)

    @property
    def entries(self) -> tuple[str, ...]:
        """By their ids, SPECIAL first."""
        return self._entries

    def encode(self, text: str) -> list[int]:
        """The tokens of the cleaned text, without special ones; UNKNOWN for a character that is in no entry."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """As :meth:`encode`, of many at once."""
        encoded = self._tokenizer.encode_batch_fast([_prepared(text) for text in texts], add_special_tokens=False)
        return [each.ids for each in encoded]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens, among which special ones say nothing, but UNKNOWN is SHOWN_UNKNOWN."""
        pieces = [SHOWN_UNKNOWN if i == UNKNOWN else self._entries[i] for i in ids if i > END or i == UNKNOWN]
        return "".join(pieces).removeprefix(" ")

    def to_json(self) -> str:
        content = {"format": FORMAT, "entries": self._entries, "merges": self._merges}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Bpe":
        """Raises ValueError, KeyError or TypeError where ``text`` is not what :meth:`to_json` wrote."""
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r} of a byte-pair encoding is not known")
        return cls(content["entries"], [(str(left), str(right)) for left, right in content["merges"]])


def _split() -> Split:
    return Split(Regex(PIECE), behavior="isolated")


def _prepared(text: str) -> str:
    """Cleaned, which leaves no space in front, so that :meth:`Bpe.decode` knows whose the one added here is."""
    text = clean(text)
    return text if not text or SIGN.match(text) else f" {text}"


@dataclass(frozen=True)
class Tokenizers:
    """What a writer reads by and writes by; the same one where both sides share a vocabulary."""

    source: Bpe
    target: Bpe

    @classmethod
    def fit(cls, sources: Sequence[str], targets: Sequence[str], size: int | tuple[int, int]) -> "Tokenizers":
        """``size``: of each side's encoding, or, as one number, of the one that both share."""
        if isinstance(size, int):
            both = Bpe.fit([*sources, *targets], size)
            return cls(both, both)
        return cls(Bpe.fit(sources, size[0]), Bpe.fit(targets, size[1]))

    @property
    def shared(self) -> bool:
        return self.source is self.target

    @property
    def digest(self) -> str:
        """What two policies must have in common to write a text together, token by token."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def encode_sources(self, texts: Sequence[str], most: int) -> NDArray[np.int32]:
        """(rows, S), 0-padded, S at most ``most``; a text without any token is a single UNKNOWN."""
        return padded([(tokens or [UNKNOWN])[:most] for tokens in self.source.encode_all(texts)])

    def encode_targets(self, texts: Sequence[str], most: int) -> NDArray[np.int32]:
        """(rows, T), 0-padded, T at most ``most``: each ends with END, also where it is cut."""
        return padded([[*tokens[: most - 1], END] for tokens in self.target.encode_all(texts)])

    def to_json(self) -> str:
        target = None if self.shared else self.target.to_json()
        return json.dumps({"source": self.source.to_json(), "target": target}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizers":
        """Raises ValueError, KeyError or TypeError where ``text`` is not what :meth:`to_json` wrote."""
        content = json.loads(text)
        source = Bpe.from_json(content["source"])
        return cls(source, source if content["target"] is None else Bpe.from_json(content["target"]))


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """(rows, longest), 0-padded."""
    made = np.full((len(rows), max(map(len, rows), default=0)), PADDING, dtype=np.int32)
    for i, row in enumerate(rows):
        made[i, : len(row)] = row
    return made

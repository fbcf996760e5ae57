"""Cuts a text into segments and segments into token ids, the way a policy reads: from left to right, never ahead.

A text is a sequence of units, words or characters, and a segment is a fixed number of consecutive units. Where a unit
ends depends only on what stands before the next one begins, so the tokens of the raw text read so far are a prefix of
the tokens of the whole text: nothing leaks from a segment that has not been read.

With unit `tokens` a segment is as many whole words as have at most ``segment`` tokens of a byte-pair encoding
(Sennrich et al. 2016), whose merges never cross words. A word that has more is cut between two of its tokens: no merge
crossed that place, so each side alone is encoded as it was in the word.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer, WordLevelTrainer

from sweepstack.models.data.cleaning import clean, window
from sweepstack.models.settings.data import Text
from sweepstack.models.settings.trial import Reading

FORMAT = 2
PADDING, UNKNOWN = 0, 1
SPECIAL = ["[PAD]", "[UNK]"]
WHOLE = Reading(unit="words", segment=128, max_segments=1)  # of `reading: off` where no data say how long texts are
MOST_WORDS = 256  # that data make it read at once: twice as many took 1.5 times as long, without gain (R8, newsgroups)
NEARLY_ALL = 95  # percent of the texts that it then reads to their end
LOOKED_AT = 2000  # texts, to see how long they are
EVERYTHING = 1_000_000_000  # words: a whole text, however long
VOCABULARY = {"words": 20_000, "characters": 20_000, "tokens": 4_000}  # at most, special ones included
UNIT_LENGTH = {"words": 8, "characters": 2, "tokens": 8}  # characters that a unit and its gap seldom exceed
GAP = "▁"  # before a word that does not follow another one closely: its first token says so
# Scripts written without spaces would make whole sentences one word: there each sign is one.
WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\w&&[^\p{Han}\p{Hiragana}\p{Katakana}]]+|[^\w\s]+"
CHARACTER = r"\s+|\S"  # however long a gap is, and whatever it consists of, it is one unit


class Unit(NamedTuple):
    form: str  # lower-cased, stemmed: what stands in a vocabulary; with unit `tokens` a word, or a piece of a long one
    end: int  # where it ends in the clean text
    segment: int  # 0-based
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    tokens: NDArray[np.int32]  # (rows, segments, width): 0 is padding, 1 an unknown unit
    n_segments: NDArray[np.int64]  # (rows,): at least 1


class TextReader:
    """Texts to token ids. Cheap to build from its own JSON; :meth:`fit` builds one from texts."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        unit: Literal["words", "characters", "tokens"],
        segment: int,
        max_segments: int,
        stop_words: Iterable[str] = (),
        stem: str | None = None,
    ):
        self.unit, self.segment, self.max_segments = unit, segment, max_segments
        self._stop_words, self._stem = frozenset(stop_words), stem
        self._tokenizer, self._model = tokenizer, tokenizer.model
        self._split = Split(Regex(CHARACTER if unit == "characters" else WORD), behavior="removed", invert=True)
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._pieces = lru_cache(maxsize=50_000)(self._pieces_of)  # words come again and again

    @classmethod
    def fit(cls, texts: Sequence[str], reading: Reading | Literal["off"], text: Text | None = None) -> "TextReader":
        """The vocabulary is the units of ``texts`` that can be reached within the reading's bound.

        Raises ValueError where ``text`` asks for what the reading's unit does not have.
        """
        cutter = cls.cutter(reading, text)
        return cutter.fitted(cutter.cut(texts), text)

    @classmethod
    def cutter(cls, reading: Reading | Literal["off"], text: Text | None = None) -> "TextReader":
        """A reader without a vocabulary, for :meth:`cut` and :meth:`fitted`; raises as :meth:`fit` does."""
        text = Text() if text is None else text
        text.check(reading)
        how = reading
        if how == "off":
            how = WHOLE if text.max_words is None else WHOLE.model_copy(update={"segment": text.max_words})
        stop_words = _stop_words() if text.stop_words else ()
        model = BPE if how.unit == "tokens" else WordLevel
        tokenizer = Tokenizer(model(unk_token=SPECIAL[UNKNOWN]))
        return cls(tokenizer, how.unit, how.segment, how.max_segments, stop_words, text.stem)

    def cut(self, texts: Sequence[str]) -> list[list[str]]:
        """Of each text the units that may be read, as they stand in a vocabulary; with unit `tokens` words."""
        limit, known = self.segment * self.max_segments, dict[str, str]()  # one string for each form, not one a place
        return [[known.setdefault(form, form) for form, *_ in self._cut(text, limit)[1]] for text in texts]

    def fitted(self, cut: Sequence[Sequence[str]], text: Text | None = None) -> "TextReader":
        """A reader that cuts alike, whose vocabulary are the units of ``cut``, as ``text`` bounds them."""
        text = Text() if text is None else text
        size = VOCABULARY[self.unit] if text.vocabulary is None else text.vocabulary
        tokenizer = Tokenizer(type(self._model)(unk_token=SPECIAL[UNKNOWN]))
        trainer: BpeTrainer | WordLevelTrainer
        if self.unit == "tokens":
            alphabet = _alphabet(cut, size // 2, text.min_frequency)
            trainer = BpeTrainer(
                vocab_size=size,
                min_frequency=text.min_frequency,
                special_tokens=SPECIAL,
                show_progress=False,
                initial_alphabet=alphabet,
                limit_alphabet=len(alphabet),
            )
        else:
            trainer = WordLevelTrainer(
                vocab_size=size, min_frequency=text.min_frequency, special_tokens=SPECIAL, show_progress=False
            )
        tokenizer.train_from_iterator(iter(cut), trainer)
        return TextReader(tokenizer, self.unit, self.segment, self.max_segments, self._stop_words, self._stem)

    @property
    def vocab_size(self) -> int:
        """Number of ids, padding and unknown included."""
        return self._tokenizer.get_vocab_size()

    @property
    def before(self) -> int:
        """What n-grams see before a text: among characters the id of the space that words begin after, else padding."""
        return self._ids.get(" ", UNKNOWN) if self.unit == "characters" else PADDING

    def segments(self, text: str) -> list[str]:
        """1 to ``max_segments`` pieces of raw text; a prefix of the list, joined, is the raw text read so far."""
        shown, units = self._read(text)
        ends = {unit.segment: unit.end for unit in units}  # of a segment's last unit
        return [shown[begin:end] for begin, end in zip([0, *ends.values()], ends.values(), strict=False)] or [""]

    def prefix(self, text: str, n_segments: int) -> str:
        """The raw text that the first ``n_segments`` segments show."""
        return "".join(self.segments(text)[:n_segments])

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Token ids, padded to the text with the most segments. A text without units is one unknown unit."""
        return self.encode_cut(self.cut(texts))

    def encode_cut(self, cut: Sequence[Sequence[str]]) -> Encoded:
        """As :meth:`encode`, of texts that were cut before."""
        rows = [self.ids_of(forms) for forms in cut]
        n_segments = np.array([-(-len(row) // self.segment) for row in rows], dtype=np.int64)
        tokens = np.zeros((len(rows), int(n_segments.max(initial=1)), self.segment), dtype=np.int32)
        for row, ids in enumerate(rows):
            tokens[row].reshape(-1)[: len(ids)] = ids
        return Encoded(tokens, n_segments)

    def units(self, text: str) -> list[str]:
        """The units that can be read, lower-cased, each gap between characters as one space."""
        return [unit.form for unit in self._read(text)[1]]

    def placed(self, text: str) -> list[tuple[str, int]]:
        """:meth:`units`, each with the 0-based segment in which it stands."""
        return [(unit.form, unit.segment) for unit in self._read(text)[1]]

    def lengths(self, text: str) -> tuple[int, int]:
        """How many words, characters or tokens are read of a text, and how many it has."""
        read = sum(len(unit.ids) for unit in self._read(text)[1])
        return read, sum(len(ids) for form, *_ in self._cut(text, None)[1] for _, ids in self._pieces(form))

    def to_json(self) -> str:
        """Everything that :meth:`from_json` needs: the reading, what is done to words, and the tokenizer."""
        content = {
            "format": FORMAT,
            "reading": {"unit": self.unit, "segment": self.segment, "max_segments": self.max_segments},
            "text": {"stop_words": sorted(self._stop_words), "stem": self._stem},
            "tokenizer": json.loads(self._tokenizer.to_str()),
        }
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def from_json(cls, content: str) -> "TextReader":
        """The reader that wrote ``content``; raises ValueError, KeyError or TypeError if that was none."""
        fields = json.loads(content)
        if fields["format"] != FORMAT:
            raise ValueError(f"a reader must have format {FORMAT}, but got {fields['format']!r}")
        Text(stem=fields["text"]["stem"])  # a language that there is
        try:
            tokenizer = Tokenizer.from_str(json.dumps(fields["tokenizer"]))
        except Exception as error:  # the package has no class of its own for it
            raise ValueError(f"its tokenizer cannot be read ({error})") from error
        return cls(tokenizer, **fields["reading"], **fields["text"])

    def ids_of(self, forms: Sequence[str]) -> list[int]:
        """All that is read of a text, from what :meth:`cut` made of it: segment after segment, each but the last one
        padded. Texts with the same ids are the same to a policy."""
        if self.unit != "tokens":  # as below, but each unit has one id, and there is no padding
            return [self._ids.get(form, UNKNOWN) for form in forms] or [UNKNOWN]
        ids: list[int] = []
        for unit in self._units((form, 0, 0) for form in forms):
            ids += [PADDING] * (unit.segment * self.segment - len(ids))
            ids += unit.ids
        return ids or [UNKNOWN]

    def _read(self, text: str) -> tuple[str, list[Unit]]:
        """The clean text, and the units of it that can be read."""
        shown, cut = self._cut(text, self.segment * self.max_segments)
        return shown, list(self._units(cut))

    def _units(self, cut: Iterable[tuple[str, int, int]]) -> Iterator[Unit]:
        """The units that can be read of (form, begin, end)."""
        segment, room = 0, self.segment
        for form, begin, end in cut:
            pieces = self._pieces(form)
            for piece, ids in pieces:
                if len(ids) > room:
                    segment, room = segment + 1, self.segment
                    if segment == self.max_segments:
                        return
                room -= len(ids)
                begin += len(piece)
                yield Unit(piece, begin if len(pieces) > 1 else end, segment, ids)

    def _cut(self, text: str, limit: int | None) -> tuple[str, list[tuple[str, int, int]]]:
        """The clean text and its first ``limit`` words or characters that count, as (form, begin, end)."""
        size = len(text) if limit is None else UNIT_LENGTH[self.unit] * limit + 64
        while True:  # a long text is looked at only as far as it is read
            shown = clean(window(text, size))
            spans: list[tuple[int, int]] = [span for _, span in self._split.pre_tokenize_str(shown)]
            found = [(self._form(shown, begin, end), begin, end) for begin, end in spans]
            if self._stop_words:
                found = [each for each in found if each[0] not in self._stop_words]
            if size >= len(text) or (limit is not None and len(found) > limit):  # the last one may go on behind it
                break
            size *= 4
        found = found[:limit]
        if self._stem is not None:
            found = [(_stemmed(form, self._stem), begin, end) for form, begin, end in found]
        return shown, found

    def _form(self, shown: str, begin: int, end: int) -> str:
        unit = shown[begin:end]
        if self.unit == "tokens":  # cut where it may be: each letter is lowered by itself, to one letter
            unit = unit.lower() if unit.isascii() else "".join(letter.lower()[0] for letter in unit)
            unit = unit.replace(GAP, "_")  # a text may hold one itself
            return GAP + unit if begin == 0 or shown[begin - 1].isspace() else unit
        return " " if unit.isspace() else unit.lower()

    def _pieces_of(self, form: str) -> list[tuple[str, tuple[int, ...]]]:
        """The units that a word or a character makes, with their ids: several only where it has too many tokens."""
        if self.unit != "tokens":
            return [(form, (self._ids.get(form, UNKNOWN),))]
        found = self._model.tokenize(form)
        letters = [1 if token.id == UNKNOWN else len(token.value) for token in found]
        if form.startswith(GAP):
            letters[0] -= 1
            form = form[1:]
        told = [(token.id, count) for token, count in zip(found, letters, strict=True) if count]  # no lone GAP
        pieces = []
        for first in range(0, len(told), self.segment):
            ids, counts = zip(*told[first : first + self.segment], strict=True)
            pieces.append((form[: sum(counts)], ids))
            form = form[sum(counts) :]
        return pieces


def bounded(text: Text, reading: Reading | Literal["off"], texts: Sequence[str]) -> Text:
    """``text`` with ``max_words``, where ``texts`` are read at once and it is not given.

    The longest text counts where it costs no more than WHOLE; else NEARLY_ALL of them are read to their end, or as far
    as MOST_WORDS.
    """
    if reading != "off" or text.max_words is not None or not texts:
        return text
    looked_at = texts[:: -(-len(texts) // LOOKED_AT)]
    cutter = TextReader.cutter(reading, text.model_copy(update={"max_words": 4 * MOST_WORDS}))
    lengths = np.array([len(words) for words in cutter.cut(looked_at)])
    nearly_all = int(np.percentile(lengths, NEARLY_ALL, method="higher"))
    bound = max(min(int(lengths.max()), WHOLE.segment), min(nearly_all, MOST_WORDS))
    return text.model_copy(update={"max_words": max(1, bound)})


def _alphabet(forms: Iterable[Sequence[str]], most: int, min_frequency: int) -> list[str]:
    """GAP and the most frequent characters, of equally frequent ones all or none; seldom ones are unknown."""
    counts = Counter(character for row in forms for form in row for character in form)
    ranked = sorted(counts.values(), reverse=True)
    least = max(min_frequency, ranked[most] + 1 if len(ranked) > most else 0)
    return sorted({GAP} | {character for character, count in counts.items() if count >= least})


def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # brings all of scikit-learn

    return frozenset(ENGLISH_STOP_WORDS)


@lru_cache(maxsize=100_000)
def _stemmed(word: str, language: str) -> str:
    import snowballstemmer

    return str(snowballstemmer.stemmer(language).stemWord(word))  # a stemmer of its own: one is not safe for threads

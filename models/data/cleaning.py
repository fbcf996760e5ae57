"""What is written the same way is made the same text: composed letters, plain gaps, and nothing that is not shown.

Each character is looked at by itself, and composing (Unicode's NFC) looks back only, so that a text read so far is
clean in the same way whatever comes after it.
"""

import unicodedata

# Letters and marks that are not shown: joiners, fillers, and selectors of how the sign before them looks (Unicode's
# Default_Ignorable_Code_Point, less the format characters, which have a category of their own).
IGNORABLE = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)


ZERO_WIDTH_SPACE = 0x200B  # where a word may end in a script without gaps


class _Cleaning(dict[int, str]):
    """What becomes of a character in str.translate, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        if kind == "Cs":
            clean = "?"  # half of a surrogate pair, which JSON can smuggle in
        elif character in "\t\n\r":
            clean = character
        elif character.isspace() or code == ZERO_WIDTH_SPACE:
            clean = " "
        else:
            clean = "" if kind in ("Cc", "Cf") or any(low <= code <= high for low, high in IGNORABLE) else character
        return self.setdefault(code, clean)


_TABLE = _Cleaning()


def clean(text: str) -> str:
    """Composed, with every gap but tabs and line ends a plain space, without control and format characters, joiners,
    fillers and variation selectors, and without a gap at the beginning."""
    text = text.translate(_TABLE)
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).lstrip()


CONTROLS = (code for code in range(0xA0) if unicodedata.category(chr(code)) == "Cc" and chr(code) not in "\t\n\r")
TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # the direction of all that follows
_UNSHOWABLE = {**dict.fromkeys((*CONTROLS, *TURNS), ""), **dict.fromkeys(range(0xD800, 0xE000), "?")}


def printable(text: str) -> str:
    """``text`` as a terminal or a page may show it, otherwise as it is: without control characters but tabs and line
    ends, without what turns the direction of writing, and with ``?`` for half of a surrogate pair."""
    return text.translate(_UNSHOWABLE)


def name_of(text: str) -> str:
    """A label or a column's name: clean, and every gap in it one plain space."""
    return " ".join(clean(text).split())


def window(text: str, size: int) -> str:
    """The first ``size`` characters and the marks behind them, which could still compose with one of those."""
    while size < len(text) and (unicodedata.combining(text[size]) or not _TABLE[ord(text[size])]):
        size += 1
    return text[:size]

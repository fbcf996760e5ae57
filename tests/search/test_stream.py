import io

import pytest

from sweepstack.search.stream import UNLIMITED, Stream


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_an_encoding_lacks_becomes_a_question_mark() -> None:
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, encoding="ascii")
    Stream(text).line("γ .999")
    assert raw.getvalue() == b"? .999\n"


def test_after_a_failure_it_is_silent() -> None:
    stream = Stream(Full())
    stream.line("one")
    stream.line("two")
    assert stream.broken
    assert not stream.isatty()


def test_a_file_has_no_width_but_what_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Stream(io.StringIO()).size()[0] == UNLIMITED
    monkeypatch.setenv("COLUMNS", "72")
    assert Stream(io.StringIO()).size()[0] == 72
    assert not Stream(io.StringIO()).live

import io
import json

import pytest

from sweepstack.search.report.terminal import UNLIMITED, Stream, json_line, never_fail


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_an_encoding_lacks_becomes_a_question_mark() -> None:
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, encoding="ascii")
    Stream(text).line("γ .999")
    assert raw.getvalue() == b"? .999\n"


@pytest.mark.parametrize(
    ("encoding", "bare"), [("ascii", b"? ? ?\n"), ("latin-1", b"\xe4 ? ?\n"), ("utf-8", "ä 中 ?\n".encode())]
)
def test_no_encoding_ends_a_print(encoding: str, bare: bytes) -> None:
    """A letter, a Chinese one, and half a surrogate pair; JSON loses none of them."""
    raw, text = io.BytesIO(), "ä 中 \ud83d"
    stream = io.TextIOWrapper(raw, encoding=encoding)
    never_fail(stream, None, io.StringIO())
    print(text, file=stream, flush=True)
    assert raw.getvalue() == bare
    line = json_line({"text": text}, encoding).encode(encoding)
    assert json.loads(line.decode(encoding)) == {"text": text}


def test_json_has_no_escapes_where_none_is_needed() -> None:
    assert json_line({"text": "ä 中"}, "utf-8") == '{"text": "ä 中"}\n'
    assert json_line({"text": "ä"}, None) == '{"text": "ä"}\n'


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

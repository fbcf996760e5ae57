"""For all tests: time limits are pytest-timeout's; on a busy machine hypothesis's deadline would be a coin toss."""

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tests share the machine, their runner says how wide its own terminal is."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)

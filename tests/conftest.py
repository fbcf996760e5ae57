"""For all tests: time limits are pytest-timeout's; on a busy machine hypothesis's deadline would be a coin toss. And
where tests share the machine, their runner says how wide its own terminal is, which is nothing to what they start."""

import os

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
for width in ("COLUMNS", "LINES"):
    os.environ.pop(width, None)

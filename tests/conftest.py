"""For all tests: time limits are pytest-timeout's, since a busy machine would make hypothesis's deadline a coin toss."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")

"""For all tests: time limits are pytest-timeout's; on a busy machine hypothesis's deadline would be a coin toss."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")

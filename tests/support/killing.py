"""A process that dies where a test wants it to, as far as the code that is tested can tell."""

from typing import Any, NoReturn


class Killed(BaseException):
    """Nothing in the product catches it."""


def killed(*_: Any, **__: Any) -> NoReturn:
    """To stand in the place of what is not lived to see."""
    raise Killed

"""The one place where random seeds come from.

Every random choice draws from a generator whose seed is a hash of what the choice is for, so that no choice depends on
how many others were made before it: a trial that was interrupted, or that ran in a reused worker, repeats itself.
"""

import hashlib


def derive_seed(*purpose: object) -> int:
    """A seed in [0, 2³¹), a pure function of ``purpose``, e.g. ``derive_seed(settings.seed, "policy", epoch)``."""
    digest = hashlib.sha256("\x1f".join(map(repr, purpose)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

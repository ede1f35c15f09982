"""Identifiers: a prefix that names the kind, then 26 lowercase base32 characters that sort by time.

The layout is ULID's (48 bits of milliseconds, 80 random bits, Crockford's alphabet), in lowercase.
"""

import random
import re
import secrets
import time
from typing import Literal

Prefix = Literal["job", "ds", "ckpt", "key", "evt", "aud", "req", "wh", "dlv", "match"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_PATTERN = re.compile(r"[a-z]+_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: Prefix) -> str:
    """A fresh id such as `job_01jd…`. Ids of one process and millisecond are in no promised order."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_{base32(value, 26)}"


def request_id() -> str:
    """The same for a request. Whoever guesses one gains nothing, so the kernel is not asked for random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80)
    return f"req_{base32(value, 26)}"


def base32(value: int, length: int) -> str:
    """The last `length` digits of `value` in Crockford's alphabet."""
    digits = []
    for _ in range(-(-length // 2)):
        digits.append(_PAIRS[value & 1023])
        value >>= 10
    return "".join(reversed(digits))[length % 2 :]


def is_id(text: str, prefix: Prefix) -> bool:
    return text.startswith(f"{prefix}_") and _PATTERN.fullmatch(text) is not None

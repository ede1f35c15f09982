"""Identifiers: a prefix that names the kind, then 26 lowercase base32 characters that sort by time.

The layout is ULID's (48 bits of milliseconds, 80 random bits, Crockford's alphabet), in lowercase.
"""

import re
import secrets
import time
from typing import Literal

Prefix = Literal["job", "ds", "ckpt", "key", "evt", "aud", "req", "wh", "dlv", "match"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PATTERN = re.compile(r"[a-z]+_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: Prefix) -> str:
    """A fresh id such as `job_01jd…`. Ids of one process and millisecond are in no promised order."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_{base32(value, 26)}"


def base32(value: int, length: int) -> str:
    """The last `length` digits of `value` in Crockford's alphabet."""
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))


def is_id(text: str, prefix: Prefix) -> bool:
    return text.startswith(f"{prefix}_") and _PATTERN.fullmatch(text) is not None

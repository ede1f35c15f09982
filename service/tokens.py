"""The secret that a key's holder has: `wa_<the id's 26 characters>_<32 random characters><7 of checksum>`.

The prefix and the checksum let scanners find a leaked one and tell it from other text, offline; the id finds its row.
The random part has 160 bits, so one round of SHA-256 is all that its stored digest needs.
"""

import hashlib
import re
import secrets
import zlib

from service.ids import base32

_DIGIT = "[0-9a-hjkmnp-tv-z]"
PATTERN = re.compile(rf"wa_({_DIGIT}{{26}})_({_DIGIT}{{32}})({_DIGIT}{{7}})")


def new(key_id: str) -> str:
    """A fresh secret for the key `key_…`."""
    body = f"wa_{key_id.removeprefix('key_')}_{base32(secrets.randbits(160), 32)}"
    return body + _checksum(body)


def key_id(secret: str) -> str | None:
    """The id in a well-formed secret; None for any other text."""
    match = PATTERN.fullmatch(secret)
    if match is None or _checksum(secret[:-7]) != match[3]:
        return None
    return f"key_{match[1]}"


def digest(secret: str) -> str:
    """What is stored of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return base32(zlib.crc32(body.encode()), 7)

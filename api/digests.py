"""sha256 end to end: what a client says of its upload is compared with what came; downloads say what they are.

A whole body is named by `Content-Digest` or `Repr-Digest` (RFC 9530; of a POST they are the same bytes), a file within
a form by the field `sha256`. What does not fit is refused before anything of it is kept.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping

from service.errors import InvalidRequest

HEADERS = ("content-digest", "repr-digest")
_MEMBER = re.compile(r"sha-256=:([A-Za-z0-9+/=]*):(?:;.*)?", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def header(sha256: str) -> str:
    """The value of a digest header for a sha256 in hex."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def of_body(headers: Mapping[str, str]) -> dict[str, str]:
    """Header → the sha256 in hex that it gives for the body. Raises InvalidRequest; other algorithms are let pass."""
    found = {}
    for name in HEADERS:
        for member in headers.get(name, "").split(","):
            if member.strip().lower().startswith("sha-256="):
                found[name] = _decoded(member.strip(), name)
    return found


def _decoded(member: str, name: str) -> str:
    match = _MEMBER.fullmatch(member)
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InvalidRequest("a digest is written sha-256=:<base64 of 32 bytes>:", param=name)
    return digest.hex()


def checked(pieces: Iterator[bytes], sha256: str | None, param: str = "sha256") -> Iterator[bytes]:
    """The same pieces; at their end raises InvalidRequest (`digest_mismatch`) where they are others than was said."""
    if sha256 is None:
        return pieces
    if not _HEX.fullmatch(sha256):
        raise InvalidRequest("a sha256 is 64 hexadecimal digits", param=param)
    return _compared(pieces, sha256.lower(), param)


def _compared(pieces: Iterator[bytes], sha256: str, param: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != sha256:
        raise InvalidRequest(
            f"What arrived has the sha256 {digest.hexdigest()}, and {sha256} was announced: send it again.",
            param=param,
            code="digest_mismatch",
        )

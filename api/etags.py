"""If-Match for aliases: their ETag is the version that they point to (RFC 9110, section 13.1.1)."""

import re

from service.aliases import Expected
from service.errors import EtagMismatch

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')


def expected_version(if_match: str | None) -> Expected | None:
    """The versions of which the alias must point to one; `any` for `*`: it must be there; None: nothing is demanded.

    The comparison is strong, so a weak tag matches none. Raises EtagMismatch for what is no list of tags.
    """
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return "any"
    found = [_TAG.fullmatch(each) for each in if_match.split(",")]
    if any(tag is None for tag in found):
        raise EtagMismatch('If-Match must be *, or the ETag of the alias as last read, such as "7".')
    strong = [tag[2] for tag in found if tag is not None and not tag[1]]
    return frozenset(int(text) for text in strong if re.fullmatch(r"\d{1,9}", text, re.ASCII))

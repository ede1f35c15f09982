"""If-Match for aliases: their ETag is the version that they point to."""

import re

from service.errors import EtagMismatch


def expected_version(if_match: str | None) -> int | None:
    """The version that the alias must point to; None: any. Raises EtagMismatch for a tag that no alias has."""
    if if_match is None:
        return None
    found = re.fullmatch(r'\s*"(\d{1,9})"\s*', if_match)
    if found is None:
        raise EtagMismatch('If-Match must be the ETag of the alias as last read, such as "7".')
    return int(found.group(1))

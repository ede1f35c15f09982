"""What the shell offers for an argument: the service's own names. Where it does not answer at once, nothing."""

from collections.abc import Callable
from itertools import islice

from warpadam.client import Client
from warpadam.sdk.errors import WarpAdamError

_PATIENCE_S = 1.0
_OFFERED = 50


def job_ids(incomplete: str) -> list[tuple[str, str]]:
    """Newest first, with what people know them by."""
    return _asked(
        incomplete,
        lambda client: [
            (job.id, f"{job.state} {job.spec.get('family', '')} {job.spec.get('name') or ''}".rstrip())
            for job in islice(client.jobs.list(page_size=_OFFERED), _OFFERED)
        ],
    )


def family_names(incomplete: str) -> list[tuple[str, str]]:
    return _asked(
        incomplete,
        lambda client: [(family.name, family.description) for family in islice(client.families.list(), _OFFERED)],
    )


def references(incomplete: str) -> list[tuple[str, str]]:
    """Families, and after the @ their aliases."""
    family, at, _ = incomplete.partition("@")
    if not at:
        return family_names(incomplete)
    return _asked(
        incomplete,
        lambda client: [
            (f"{family}@{alias.name}", f"version {alias.version}") for alias in client.aliases.list(family)
        ],
    )


def _asked(incomplete: str, find: Callable[[Client], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    try:
        with Client(timeout_s=_PATIENCE_S, tries=1) as client:
            return [(name, told) for name, told in find(client) if name.startswith(incomplete)]
    except WarpAdamError:
        return []

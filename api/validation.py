"""Pydantic's mistakes as the contract tells them: dotted paths of the request, one clear mistake per field.

Where a field may be one of several kinds, pydantic reports each kind's mistakes under a tag such as `mlp`,
`FromCheckpoint` or `constrained-int`. A tag is no part of the request, so it is recognised by its absence from the
body; of a field's kinds, the one that the user most likely meant is reported.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import FieldError

_CODES = {"extra_forbidden": "unknown_field", "missing": "missing"}
_MESSAGES = {"extra_forbidden": "unknown field", "missing": "is required"}
_WRONG_KIND = ("_type", "_parsing", "literal_error")


@dataclass(frozen=True)
class _Mistake:
    path: tuple[str, ...]
    union: tuple[str, ...] | None
    """Path of the outermost field with several kinds on the way, if any."""
    kind: str
    code: str
    message: str

    @property
    def is_wrong_kind(self) -> bool:
        return self.path == self.union and (self.code.endswith(_WRONG_KIND))


def field_errors(found: Sequence[Mapping[str, Any]], body: object) -> list[FieldError]:
    """`found` is pydantic's list of errors with `loc` from `body`, `query`, `path` or `header` on."""
    mistakes = [_read(item, body) for item in found]
    kept = _most_likely(mistakes)
    unique = {(m.path, m.code): m for m in kept}
    return [
        FieldError(".".join(m.path), _CODES.get(m.code, m.code), _MESSAGES.get(m.code, m.message))
        for m in unique.values()
    ]


def _read(item: Mapping[str, Any], body: object) -> _Mistake:
    source, *parts = item["loc"]
    value: object = body if source == "body" else None
    path: list[str] = []
    union: tuple[str, ...] | None = None
    tags: list[str] = []
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        if source != "body" or (is_last and item["type"] == "missing"):
            path.append(str(part))
        elif (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            path.append(str(part))
            value = value[part]
        elif part != "[key]":
            union = tuple(path) if union is None else union
            tags.append(str(part))
    message = str(item["msg"]).removeprefix("Value error, ")
    return _Mistake(tuple(path) or (str(source),), union, "/".join(tags[:1]), str(item["type"]), message)


def _most_likely(mistakes: list[_Mistake]) -> list[_Mistake]:
    """Of each field with several kinds, the mistakes of the kind that fits best: right type, fewest mistakes."""
    kept = [m for m in mistakes if m.union is None]
    fields: dict[tuple[str, ...], dict[str, list[_Mistake]]] = defaultdict(lambda: defaultdict(list))
    for mistake in mistakes:
        if mistake.union is not None:
            fields[mistake.union][mistake.kind].append(mistake)
    for kinds in fields.values():
        likely: list[_Mistake] = min(kinds.values(), key=_unlikely)
        kept += likely
    return kept


def _unlikely(of_one_kind: list[_Mistake]) -> tuple[bool, int]:
    return any(each.is_wrong_kind for each in of_one_kind), len(of_one_kind)

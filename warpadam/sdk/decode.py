"""JSON of the service → typed objects.

A field that this client does not know is kept in `raw` and otherwise ignored; one that an older service does not send
is None where None is possible. /v1 only ever adds fields, so nothing else can differ.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from warpadam.sdk.errors import UnexpectedAnswer

Json = dict[str, Any]
_KNOWN: dict[type[Any], list[tuple[str, Field[Any], Any]]] = {}
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Model:
    """`raw` is the service's own JSON, fields that this client does not know included."""

    raw: Json = field(default_factory=dict, repr=False, compare=False)


def decode(kind: type[T], content: Mapping[str, Any]) -> T:
    """Raises UnexpectedAnswer where a field is missing that every service sends."""
    return kind(**known_fields(kind, content))


def known_fields(kind: type[Any], content: Mapping[str, Any]) -> Json:
    """The keyword arguments of `kind`, which is a dataclass."""
    found: Json = {"raw": dict(content)}
    for name, each, hint in _fields(kind):
        if name in content:
            found[name] = _value(hint, content[name])
        elif NoneType in get_args(hint):
            found[name] = None
        elif each.default is MISSING and each.default_factory is MISSING:
            raise UnexpectedAnswer(f"The service answered a {kind.__name__} without {name}: is it a WarpAdam service?")
    return found


def _fields(kind: type[Any]) -> list[tuple[str, Field[Any], Any]]:
    """Name, field and type of each; found once for each kind."""
    if kind not in _KNOWN:
        hints = get_type_hints(kind)
        _KNOWN[kind] = [
            (each.name, each, hints[each.name]) for each in fields(kind) if each.init and each.name != "raw"
        ]
    return _KNOWN[kind]


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(hint) is UnionType:
        hint = next(each for each in get_args(hint) if each is not NoneType)
    if is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if get_origin(hint) is list:
        return [_value(get_args(hint)[0], item) for item in value]
    if get_origin(hint) is dict:
        return {key: _value(get_args(hint)[1], item) for key, item in value.items()}
    return value

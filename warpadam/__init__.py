"""WarpAdam: Adam that sees the gradient through a learned matrix P, and the client of the service that learns it.

`import warpadam` is cheap: torch and httpx are loaded when a name that needs them is first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Warp", "WarpAdam"]

if TYPE_CHECKING:
    from warpadam.client import AsyncClient, Client
    from warpadam.optimizer import WarpAdam
    from warpadam.warp import Warp

_HOMES = {
    "AsyncClient": "warpadam.client",
    "Client": "warpadam.client",
    "Warp": "warpadam.warp",
    "WarpAdam": "warpadam.optimizer",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

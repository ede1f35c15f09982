"""The optional packages, and how to say that they are not here."""

import importlib.util

from service.errors import InvalidRequest

EXTRAS = {"datasets": "huggingface", "transformers": "huggingface"}
"""Package → the extra of ours that brings it."""


def is_here(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def require(package: str, what: str, param: str) -> None:
    """Raises InvalidRequest where it is not installed, with the command that does it."""
    if not is_here(package):
        raise InvalidRequest(
            f"{what} needs the package {package}, which this server has not: install it there with "
            f"pip install 'warpadam[{EXTRAS[package]}]'.",
            param=param,
        )

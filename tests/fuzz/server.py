"""`python -m api` on a machine without a name service: a case may name any host, and none is asked for anywhere."""

import socket
import sys
from functools import partial
from typing import Any

from api.__main__ import main

_resolve = socket.getaddrinfo


def _literals_only(*args: Any, **kwargs: Any) -> list[Any]:
    flags = kwargs.pop("flags", 0) | socket.AI_NUMERICHOST
    return list(partial(_resolve, *args[:5], **kwargs)(flags=flags))


if __name__ == "__main__":
    socket.getaddrinfo = _literals_only  # type: ignore[assignment]
    sys.exit(main())

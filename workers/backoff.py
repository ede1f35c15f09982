"""How long to wait before something is tried again."""


def backoff(failures: int, first_s: float, last_s: float) -> float:
    """Seconds to wait after so many failures in a row (1 or more): doubling, up to `last_s`."""
    return min(last_s, first_s * 2.0 ** min(failures - 1, 30))

"""What a training worker and the meta-learner must agree on; it needs no database, as training workers do not."""

GROUP_SEQUENCES = 2**20
"""The contributions of an attempt's n-th group of workers are numbered from n times this on."""


class RefusedError(Exception):
    """A contribution that does not count. `code` is for programs, `message` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

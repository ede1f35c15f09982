"""What a meta-learner answers; picklable, and light enough for any process."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exchange:
    """The answer to an exchange.

    `acknowledged`: the step up to which the job's contributions are durable: the next one starts there. `refused`:
    `{"code", "message"}` where the contribution was. `version`, `warp`: the P to move to and its file, where the alias
    that the job follows points to another version than the one it has.
    """

    acknowledged: int
    refused: dict[str, str] | None = None
    version: int | None = None
    warp: bytes | None = None

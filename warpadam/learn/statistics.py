"""What jobs saw, summed exactly: contributions, the sum of a job, the statistics of a family. No torch.

The atom is one contribution. Its sums are made in floating point on the worker, rounded once to int64 at `SCALE`, and
from then on only added as integers, with every addition checked. So the statistics are the same in any order, in any
grouping, on any machine, and so is their digest, which names every contribution that is in them: it can be computed
from contributions, from the folded sums of jobs, or from a ledger of (job, start, end, digest).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from warpadam import tensorfile
from warpadam.learn.packed import (
    SCALE,
    ContributionError,
    Packed,
    Sums,
    add,
    add_sums,
    axis_of,
    pack,
    packed_size,
    unpack,
)
from warpadam.shapes import key_size
from warpadam.tensorfile import TensorFileError

__all__ = [
    "MAX_CONTRIBUTION_BYTES",
    "SCALE",
    "Contribution",
    "ContributionError",
    "JobSum",
    "Statistics",
    "add",
    "digest_of",
    "pack",
    "unpack",
]

MAX_CONTRIBUTION_BYTES = 16 * 2**20
CONTRIBUTION_FORMAT = "warpadam.contribution/1"
JOB_SUM_FORMAT = "warpadam.job-sum/1"

Interval = tuple[int, int, str]
"""(start, end, digest) of one contribution: the half-open interval of the job's steps that it covers."""


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one job attempt saw in the steps [start, end). `skipped` gradients, zero or not finite, added nothing."""

    rule: str
    job: str
    attempt: int
    sequence: int
    start: int
    end: int
    base_version: int | None
    sums: Sums
    skipped: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "sums", _frozen(self.sums))

    @property
    def steps(self) -> int:
        return self.end - self.start

    def encode(self) -> bytes:
        """A safetensors file; equal contributions, equal bytes."""
        text = {"format": CONTRIBUTION_FORMAT, "rule": self.rule, "job": self.job}
        if self.base_version is not None:
            text["base_version"] = str(self.base_version)
        for name in ("attempt", "sequence", "start", "end", "skipped"):
            text[name] = str(getattr(self, name))
        return tensorfile.write(self.sums, text)

    @classmethod
    def decode(cls, data: bytes) -> "Contribution":
        """The contribution in these bytes. ContributionError `malformed` or `bad_shape` where there is none."""
        sums, text = _read(data, CONTRIBUTION_FORMAT)
        return cls(
            rule=_text(text, "rule"),
            job=_text(text, "job"),
            attempt=_whole(text, "attempt"),
            sequence=_whole(text, "sequence"),
            start=_whole(text, "start"),
            end=_whole(text, "end"),
            base_version=_whole(text, "base_version") if "base_version" in text else None,
            sums=sums,
            skipped=_whole(text, "skipped"),
        )

    @cached_property
    def digest(self) -> str:
        return tensorfile.sha256(self.encode())


@dataclass(frozen=True, eq=False)
class JobSum:
    """The exact sum of a job's contributions, and the intervals and digests that are in it, in order of start."""

    steps: int
    sums: Sums
    digests: tuple[Interval, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sums", _frozen(self.sums))
        object.__setattr__(self, "digests", tuple(sorted(self.digests)))
        _check_intervals(self.digests)
        if self.steps != sum(end - start for start, end, _ in self.digests):
            raise ContributionError("bad_interval", f"{self.steps} steps, but the intervals cover another number")

    @classmethod
    def of(cls, contribution: Contribution) -> "JobSum":
        interval = (contribution.start, contribution.end, contribution.digest)
        return cls(contribution.steps, contribution.sums, (interval,))

    def add(self, other: "JobSum") -> "JobSum":
        """Both together. ContributionError `overlap` where they share a step."""
        digests = (*self.digests, *other.digests)
        _check_intervals(sorted(digests))
        return JobSum(self.steps + other.steps, add_sums(self.sums, other.sums), digests)

    def encode(self) -> bytes:
        """The folded form: a safetensors file; equal sums of equal contributions, equal bytes."""
        text = {"format": JOB_SUM_FORMAT, "steps": str(self.steps), "digests": json.dumps(self.digests)}
        return tensorfile.write(self.sums, text)

    @classmethod
    def decode(cls, data: bytes) -> "JobSum":
        """The job sum in these bytes. ContributionError where there is none."""
        sums, text = _read(data, JOB_SUM_FORMAT)
        return cls(_whole(text, "steps"), sums, tuple(_intervals(_text(text, "digests"))))


class Statistics:
    """What a family's jobs saw: job id -> JobSum. Immutable; `add` and `merge` give new statistics."""

    def __init__(self, jobs: Mapping[str, JobSum] | None = None) -> None:
        self._jobs: Mapping[str, JobSum] = {job: jobs[job] for job in sorted(jobs)} if jobs else {}

    @property
    def jobs(self) -> Mapping[str, JobSum]:
        """In sorted order of the ids."""
        return self._jobs

    @property
    def steps(self) -> int:
        return sum(job.steps for job in self._jobs.values())

    def add(self, contribution: Contribution) -> "Statistics":
        """With this contribution. ContributionError `overlap` where one of its steps has been counted already."""
        return self.merge(Statistics({contribution.job: JobSum.of(contribution)}))

    def merge(self, other: "Statistics") -> "Statistics":
        """Both together: exact, commutative, associative. ContributionError `overlap` where a step is in both."""
        jobs = dict(self._jobs)
        for job, added in other.jobs.items():
            jobs[job] = jobs[job].add(added) if job in jobs else added
        return Statistics(jobs)

    def digest(self) -> str:
        """sha256 over every (job, start, end, digest of the contribution): whatever the order, grouping or folding."""
        return digest_of((job, *interval) for job, total in self._jobs.items() for interval in total.digests)


def digest_of(ledger: Iterable[tuple[str, int, int, str]]) -> str:
    """The digest of the statistics that hold exactly these contributions: (job, start, end, digest), in any order."""
    lines = sorted(ledger)
    return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).hexdigest()


def _frozen(sums: Sums) -> Sums:
    frozen = {key: sums[key].view() for key in sorted(sums)}
    for packed in frozen.values():
        packed.flags.writeable = False
    return frozen


def _check_intervals(intervals: Iterable[Interval]) -> None:
    reached = 0
    for start, end, _ in intervals:
        if start < reached:
            raise ContributionError("overlap", f"steps [{start}, {min(end, reached)}) would be counted twice")
        if end <= start:
            raise ContributionError("bad_interval", f"[{start}, {end}) holds no step")
        reached = end


def _intervals(text: str) -> Iterator[Interval]:
    try:
        rows = json.loads(text)
        for start, end, digest in rows:
            if not (type(start) is int and type(end) is int and type(digest) is str):
                raise TypeError("an interval is two whole numbers and a digest")
            yield start, end, digest
    except (ValueError, TypeError, RecursionError) as error:
        raise ContributionError("malformed", f"the intervals cannot be read: {error}") from error


def _read(data: bytes, expected: str) -> tuple[dict[str, Packed], dict[str, str]]:
    try:
        tensors, text = tensorfile.read(data)
    except TensorFileError as error:
        raise ContributionError("malformed", str(error)) from error
    if text.get("format") != expected:
        raise ContributionError("malformed", f"its format is {text.get('format')!r}, not {expected!r}")
    return {name: _triangle(axis_of(name), array) for name, array in tensors.items()}, text


def _triangle(key: str, array: NDArray[np.generic]) -> Packed:
    if array.dtype != np.int64:
        raise ContributionError("bad_shape", f"{key}: statistics are int64, not {array.dtype.name}")
    packed = array.astype(np.int64, copy=False)
    try:
        size = key_size(key)
    except ValueError as error:
        raise ContributionError("unknown_key", str(error)) from error
    if packed_size(packed) != size:
        raise ContributionError("bad_shape", f"{key}: a triangle of size {packed_size(packed)}")
    return packed


def _text(text: Mapping[str, str], name: str) -> str:
    if name not in text:
        raise ContributionError("malformed", f"{name} is missing")
    return text[name]


def _whole(text: Mapping[str, str], name: str) -> int:
    value = _text(text, name)
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise ContributionError("malformed", f"{name} must be a whole number, not {value!r}")
    return int(value)

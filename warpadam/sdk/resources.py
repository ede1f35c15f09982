"""The client's collections: jobs, datasets, families, warps.

Objects other than jobs come as their JSON (CONTRACT, HTTP), so a field that a newer service adds is there too.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warpadam.sdk.connection import Connection, Json, segment
from warpadam.sdk.errors import WarpAdamError
from warpadam.sdk.job import Job
from warpadam.sdk.pages import iterate

if TYPE_CHECKING:
    from warpadam.warp import Warp


@dataclass
class Jobs:
    connection: Connection

    def create(self, spec: Mapping[str, Any] | None = None, /, **fields: Any) -> Job:
        """Submits a job: the description as a mapping, as keywords, or both (CONTRACT, Job description)."""
        return Job(self.connection.json("POST", "/v1/jobs", body={**(spec or {}), **fields}), self.connection)

    def validate(self, spec: Mapping[str, Any] | None = None, /, **fields: Any) -> Json:
        """What `create` would do: the resolved description and warnings, or the same error."""
        body = {**(spec or {}), **fields}
        return self.connection.json("POST", "/v1/jobs", params={"validate_only": "true"}, body=body)

    def get(self, job_id: str) -> Job:
        return Job(self.connection.json("GET", f"/v1/jobs/{segment(job_id)}"), self.connection)

    def list(
        self,
        *,
        state: str | Sequence[str] | None = None,
        family: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Iterator[Job]:
        """Newest first, all pages; of several states, jobs in either."""
        params: dict[str, str | Sequence[str]] = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        params |= {key: value for key, value in (("state", state), ("family", family)) if value is not None}
        return (Job(data, self.connection) for data in iterate(self.connection, "/v1/jobs", params))

    def delete(self, job_id: str) -> None:
        self.connection.json("DELETE", f"/v1/jobs/{segment(job_id)}")


@dataclass
class Datasets:
    connection: Connection

    def create(self, source: str | os.PathLike[str], **options: str | float | None) -> Json:
        """Registers a dataset: a local file is uploaded; `s3://…`, `https://…` and the like are named by their URI.

        Options are those of a registration: `name, format, target, val_fraction, split_seed, normalize`. Raises
        WarpAdamError where the service could not make sense of it, with its reason.
        """
        fields = {key: value for key, value in options.items() if value is not None}
        if "://" in str(source):
            return self._ready(self.connection.json("POST", "/v1/datasets", body={**fields, "uri": str(source)}))
        path = Path(source).expanduser()
        texts = {"name": path.stem} | {key: str(value) for key, value in fields.items()}
        with path.open("rb") as file:
            return self._ready(self.connection.upload("/v1/datasets", texts, path.name, file))

    def _ready(self, dataset: Json) -> Json:
        while dataset["state"] == "inspecting":
            time.sleep(0.3)
            dataset = self.get(dataset["id"])
        if dataset["state"] == "invalid":
            raise WarpAdamError(f"{dataset['id']} cannot be used: {dataset.get('error')}")
        return dataset

    def get(self, dataset_id: str) -> Json:
        return self.connection.json("GET", f"/v1/datasets/{segment(dataset_id)}")

    def list(self) -> Iterator[Json]:
        return iterate(self.connection, "/v1/datasets")

    def delete(self, dataset_id: str) -> None:
        self.connection.json("DELETE", f"/v1/datasets/{segment(dataset_id)}")


@dataclass
class Families:
    connection: Connection

    def create(self, name: str, **fields: str) -> Json:
        return self.connection.json("POST", "/v1/families", body={"name": name, **fields})

    def get(self, name: str) -> Json:
        return self.connection.json("GET", f"/v1/families/{segment(name)}")

    def list(self) -> Iterator[Json]:
        return iterate(self.connection, "/v1/families")

    def set_alias(self, name: str, alias: str, version: int, reason: str = "") -> Json:
        body = {"version": version, "reason": reason}
        return self.connection.json("PUT", f"/v1/families/{segment(name)}/aliases/{segment(alias)}", body=body)

    def contributions(self, name: str) -> Iterator[Json]:
        """The ledger, oldest first."""
        return iterate(self.connection, f"/v1/families/{segment(name)}/contributions", {"limit": 100})


@dataclass
class Warps:
    """A reference is `family`, `family@7` or `family@alias`; the champion where only the family is named."""

    connection: Connection

    def list(self, family: str) -> Iterator[Json]:
        """Newest first."""
        return iterate(self.connection, f"/v1/families/{segment(family)}/warps")

    def get(self, reference: str) -> Json:
        return self.connection.json("GET", _path(reference))

    def pull(self, reference: str) -> "Warp":
        """The P itself, ready for WarpAdam. Needs torch."""
        from warpadam.warp import Warp

        return Warp.from_bytes(self.content(reference))

    def content(self, reference: str) -> bytes:
        """The P's file; its sha256 is checked against what the service says it is."""
        with self.connection.stream(f"{_path(reference)}/content") as answer:
            content = answer.read()
            expected = answer.headers.get("ETag", "").strip('"')
        found = hashlib.sha256(content).hexdigest()
        if expected and expected != found:
            raise WarpAdamError(f"{reference} arrived damaged: sha256 {found}, expected {expected}. Try again.")
        return content

    def download(self, reference: str, path: str | os.PathLike[str]) -> Path:
        """Writes the P's file to `path`: whole, or not at all."""
        target = Path(path)
        content = self.content(reference)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(target, content)
        except OSError as error:
            raise WarpAdamError(f"cannot write {target}: {error.strerror}") from error
        return target

    def push(self, family: str, path: str | os.PathLike[str]) -> Json:
        """Uploads a P as the family's next version."""
        source = Path(path)
        with source.open("rb") as file:
            return self.connection.upload(f"/v1/families/{segment(family)}/warps", {}, source.name, file)


def _replace(target: Path, content: bytes) -> None:
    """A reader of `target` sees what was there before, or all of `content`."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        written = Path(file.name)
        try:
            file.write(content)
            file.flush()
            written.chmod(0o644)
            written.replace(target)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def _path(reference: str) -> str:
    family, _, version = reference.partition("@")
    return f"/v1/families/{segment(family)}/warps/{segment(version or 'champion')}"

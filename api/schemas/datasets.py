"""Datasets: what was registered, and what was understood of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from api.schemas.common import Answer, Json, Time
from service.data import DatasetInfo
from service.data.packages import PackageInfo
from service.db import models

NAMED: Json = {
    "built in": {"value": {"builtin": "digits"}},
    "standard library": {"value": {"builtin": "python-text", "part": "json"}},
    "by URL": {"value": {"uri": "https://example.com/houses.csv", "target": "price", "normalize": "standard"}},
    "of the hub": {"value": {"uri": "hf://datasets/stanfordnlp/imdb@main", "split": "train", "max_length": 512}},
}
"""Examples of datasets that are named, not uploaded."""


class InspectionProgress(BaseModel):
    """Bytes that were read; of some formats a file is read more than once, so the end may come later than its size."""

    bytes: int
    of: int


class Dataset(Answer):
    """`info` is there once it is `ready`; `error` says what to do where it is `invalid`.

    `progress` is there while it is `inspecting`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "ds_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "object": "dataset",
                "name": "patches.npz",
                "state": "ready",
                "options": {"format": "npz", "val_fraction": 0.1, "split_seed": 0},
                "uri": None,
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "size": 1_200_000,
                "info": {
                    "kind": "table",
                    "format": "npz",
                    "train": 900,
                    "val": 100,
                    "input": {"shape": [48], "dtype": "float32"},
                    "target": {"kind": "values", "kinds": ["values"], "shape": [16], "dtype": "float32"},
                    "size_bytes": 256_000,
                },
                "error": None,
                "progress": None,
                "created_at": "2026-01-31T12:00:00.000Z",
            }
        }
    )

    id: str
    object: Literal["dataset"] = "dataset"
    name: str | None
    state: Literal["inspecting", "ready", "invalid"]
    options: Json
    uri: str | None
    """Null for uploads and built-ins; of the hub with the commit that was fetched."""
    sha256: str | None
    size: int | None
    info: DatasetInfo | PackageInfo | None
    error: str | None
    progress: InspectionProgress | None = None
    created_at: Time

    @classmethod
    def of(cls, row: models.Dataset) -> "Dataset":
        return cls.model_validate(
            {
                "id": row.id,
                "name": row.name,
                "state": row.state,
                "options": row.options,
                "uri": row.options.get("hub", {}).get("uri") if row.uploaded else row.uri,
                "sha256": row.sha256,
                "size": row.size,
                "info": row.info,
                "error": row.error,
                "progress": _progress(row),
                "created_at": row.created_at,
            }
        )


def _progress(row: models.Dataset) -> dict[str, int] | None:
    return {"bytes": row.inspected_bytes, "of": row.size or 0} if row.state == "inspecting" else None

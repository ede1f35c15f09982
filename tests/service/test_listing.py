"""What lies in a storage is asked in as few questions as the store allows."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from service.listing import listed
from service.storage import Storage


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A bucket of a server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    named = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in {**named, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    boto3.client("s3").create_bucket(Bucket="listed")
    s3fs.S3FileSystem.clear_instance_cache()
    yield Storage("s3://listed/warpadam")
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the requests to the store."""
    names: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def count(self: Any, method: str, *arguments: Any, **named: Any) -> Any:
        names.append(method)
        return await call(self, method, *arguments, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", count)
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", s3fs.core.sync_wrapper(count))
    return names


def test_a_page_of_s3_is_one_request(storage: Storage, asked: list[str]) -> None:
    paths = {storage.put("checkpoints", bytes([number])).path for number in range(12)}
    storage.put("checkpoints-of-others", b"x")
    asked.clear()
    assert set(storage.paths("checkpoints")) == paths
    assert asked == ["list_objects_v2"]
    asked.clear()
    names = list(listed(storage._fs, "listed/warpadam/checkpoints", page=5))
    assert {name.removeprefix("listed/warpadam/") for name in names} == paths
    assert len(names) == 12
    assert asked == ["list_objects_v2"] * 3


def test_what_is_not_there_has_no_files(storage: Storage, asked: list[str]) -> None:
    assert list(storage.paths("starts")) == []
    assert asked == ["list_objects_v2"]

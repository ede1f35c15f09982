"""Stores elsewhere: whose prefixes are read, with which credentials, against a server that speaks S3."""

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from service import outbound
from service.data.outside import opened
from service.data.source import FileSource
from service.errors import InvalidRequest, TooLarge
from service.settings import Settings
from service.stores import Store

GUARD = outbound.Guard.of(Settings())
KEYS = {"key": "AKIAEXAMPLE", "secret": "not-a-secret"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    for bucket in ("data", "data-of-others"):
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="sets/a.txt", Body=b"stored")
    yield url
    server.stop()


def store(endpoint: str, **changes: object) -> Store:
    made = {"prefix": "s3://data", "options": {**KEYS, "endpoint_url": endpoint, "region": "us-east-1"}}
    return Store.model_validate({**made, **changes})


def read(uri: str, stores: list[Store], project: str = "vision", max_bytes: int = 1000) -> bytes:
    with opened(uri, [], max_bytes, GUARD, project=project, stores=stores) as (source, _):
        assert isinstance(source, FileSource)
        with source.open() as file:
            return file.read()


def test_a_listed_prefix_is_read(endpoint: str) -> None:
    stores = [store(endpoint, projects=["vision"])]
    assert read("s3://data/sets/a.txt", stores) == b"stored"
    assert read("S3A://data/sets/a.txt", stores) == b"stored"
    with pytest.raises(TooLarge):
        read("s3://data/sets/a.txt", stores, max_bytes=5)
    with pytest.raises(InvalidRequest, match="there is nothing at"):
        read("s3://data/sets/none.txt", stores)


def test_the_longest_prefix_says_whose_credentials(endpoint: str) -> None:
    nowhere = store("http://127.0.0.1:9", prefix="s3://data/")
    assert read("s3://data/sets/a.txt", [nowhere, store(endpoint, prefix="s3://data/sets")]) == b"stored"


@pytest.mark.parametrize(
    ("uri", "project"),
    [
        ("s3://data/sets/a.txt", "other"),
        ("s3://data-of-others/sets/a.txt", "vision"),
        ("s3://data/../data-of-others/sets/a.txt", "vision"),
        ("s3://data/%2e%2e/data-of-others/sets/a.txt", "vision"),
        ("gs://data/sets/a.txt", "vision"),
        ("s3://data/sets/a.txt::s3://data/sets/a.txt", "vision"),
    ],
)
def test_everything_else_is_refused(endpoint: str, uri: str, project: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(uri, [store(endpoint, projects=["vision"])], project)
    assert caught.value.param == "uri"
    assert "not-a-secret" not in caught.value.detail


def test_the_web_is_read_below_its_prefixes_once_there_is_one() -> None:
    stores = [Store(prefix="https://data.example/sets")]
    for uri in (
        "https://elsewhere.example/a.csv",
        "http://data.example/sets/a.csv",
        "https://data.example/sets-b/a.csv",
    ):
        with pytest.raises(InvalidRequest, match="below the prefixes"):
            read(uri, stores)


def test_nothing_of_the_machine_s_own_opens_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "ambient")
    assert Store(prefix="s3://data").arguments("s3")["anon"] is True
    assert Store.model_validate({"prefix": "gs://d", "options": {"token": "cloud"}}).arguments("gs")["token"] == "anon"
    assert Store(prefix="az://data").arguments("az")["anon"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "memory://x"},
        {"prefix": "file:///etc"},
        {"prefix": "s3://a::file://b"},
        {"prefix": "s3://a", "options": {"profile": "root"}},
        {"prefix": "https://a", "options": {"key": "k"}},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Store.model_validate(wrong)


def test_they_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPADAM_DATA_STORES", '[{"prefix": "s3://data/", "options": {"secret": "not-a-secret"}}]')
    settings = Settings()
    assert settings.data_stores[0].prefix == "s3://data/"
    assert "not-a-secret" not in f"{settings!r} {settings.model_dump_json()}"

"""Starts over HTTP: listed by architecture, downloaded in parts, switched off, and named by the jobs that use them."""

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.deps import Services
from service import clock
from service.db.models import StartVersion
from tests.api.made import npz, spec
from tests.starts import make_start

STARTS = "/v1/families/patches/starts"


@pytest.fixture
def starts(client: TestClient, services: Services) -> TestClient:
    client.post("/v1/families", json={"name": "patches"})
    for version, anchor in ((1, "a" * 12), (2, "b" * 12), (3, "a" * 12)):
        make_start(services.database, services.storage, "default", "patches", version=version, anchor=anchor)
    return client


def test_they_are_listed_newest_first_and_by_anchor(starts: TestClient) -> None:
    assert [each["version"] for each in starts.get(STARTS).json()["data"]] == [3, 2, 1]
    of_one = starts.get(STARTS, params={"anchor": "a" * 12, "limit": 1}).json()
    assert [each["version"] for each in of_one["data"]] == [3]
    more = starts.get(STARTS, params={"anchor": "a" * 12, "after": of_one["next_cursor"]}).json()
    assert [each["version"] for each in more["data"]] == [1]
    assert starts.get(STARTS, params={"anchor": "b" * 12, "after": of_one["next_cursor"]}).status_code == 422


def test_one_is_shown_and_downloaded_in_parts(starts: TestClient) -> None:
    shown = starts.get(f"{STARTS}/2").json()
    assert (shown["object"], shown["anchor"], shown["base_sha256"]) == ("start", "b" * 12, None)
    whole = starts.get(f"{STARTS}/2/content")
    assert whole.content == b"weights patches 2"
    assert whole.headers["etag"] == f'"{shown["sha256"]}"'
    part = starts.get(f"{STARTS}/2/content", headers={"range": "bytes=8-"})
    assert (part.status_code, part.content) == (206, b"patches 2")
    assert starts.get(f"{STARTS}/2/content", headers={"if-none-match": whole.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(("version", "told"), [(9, "no start 9"), (0, "Version 0 is the seed")])
def test_one_that_is_not_there(starts: TestClient, version: int, told: str) -> None:
    answer = starts.get(f"{STARTS}/{version}")
    assert answer.status_code == 404
    assert told in answer.json()["detail"]


def test_a_job_says_which_start_it_begins_with(starts: TestClient) -> None:
    dataset = starts.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    body = spec(dataset, init="family")
    asked = starts.post("/v1/jobs", params={"validate_only": "true"}, json=body).json()
    made = starts.post("/v1/jobs", json=body).json()
    # none of those starts is of this model's anchor, and the first that is nearest differs in nothing but the anchor
    assert asked["start_version"] == made["start_version"]
    assert starts.post("/v1/jobs", json=spec(dataset)).json()["start_version"] is None


def test_a_family_switches_them_off(starts: TestClient) -> None:
    assert starts.get("/v1/families/patches").json()["starts"] is True
    changed = starts.patch("/v1/families/patches", json={"starts": False, "start_step": 0.5}).json()
    assert (changed["starts"], changed["start_step"]) == (False, 0.5)
    assert starts.patch("/v1/families/patches", json={"start_step": 0}).status_code == 422
    made = starts.post("/v1/families", json={"name": "secret", "starts": False}).json()
    assert made["starts"] is False


def test_one_whose_file_retention_removed_is_listed_and_gone(starts: TestClient, services: Services) -> None:
    def collected(session: Session) -> None:
        session.get_one(StartVersion, (1, 1)).collected_at = clock.now()

    services.database.write(collected)
    shown = starts.get(f"{STARTS}/1").json()
    assert shown["collected_at"] is not None
    assert starts.get(f"{STARTS}/2").json()["collected_at"] is None
    answer = starts.get(f"{STARTS}/1/content")
    assert (answer.status_code, answer.json()["code"]) == (410, "collected")

"""What `warpadam doctor` says of a server's machine."""

import json
import os
import socket
from pathlib import Path

import pytest
from sqlalchemy import text

from service import doctor
from service.db.session import Database
from service.settings import Settings


def found(check: doctor.Check, settings: Settings) -> dict[str, doctor.Finding]:
    return {each.name: each for each in doctor.examine(settings, [check])}


def test_a_machine_that_has_nothing_yet_is_well(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new", port=0)
    checks = [each for each in doctor.CHECKS if each is not doctor._compute]
    findings = list(doctor.examine(settings, checks))
    assert {each.name for each in findings} >= {
        "disk",
        "memory",
        "open files",
        "temp path",
        "port",
        "database",
        "storage",
    }
    assert [each for each in findings if each.status == "problem"] == []
    assert not (tmp_path / "new").exists()


def test_the_schema_is_compared_with_this_versions(database_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    assert found(doctor._database, settings)["database"].status == "ok"
    assert all(each.status == "ok" for each in found(doctor._clock, settings).values())
    database = Database(settings.database)
    for revision, advice in (("9999", "newer"), (None, "db upgrade")):
        change = text("UPDATE alembic_version SET version_num = :to" if revision else "DELETE FROM alembic_version")
        database.write(lambda s, c=change, r=revision: s.execute(c, {"to": r} if r else {}))
        finding = found(doctor._database, settings)["database"]
        assert finding.status == "problem"
        assert advice in finding.advice
    database.dispose()


def test_a_database_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://ada:secret@127.0.0.1:9/none"
    finding = found(doctor._database, Settings(data_dir=tmp_path, database_url=url))["database"]
    assert (finding.status, "secret" in finding.message) == ("problem", False)
    assert "WARPADAM_DATABASE_URL" in finding.advice


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(data_dir=tmp_path, port=listener.getsockname()[1])
        assert found(doctor._port, settings)["port"].status == "problem"
        said = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "ray_address": ""}
        (tmp_path / "service.json").write_text(json.dumps(said))
        assert found(doctor._port, settings)["service"].status == "ok"


def test_storage_is_written_to(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    Path(settings.storage).mkdir()
    assert found(doctor._storage, settings)["storage"].status == "ok"
    assert [each for each in Path(settings.storage).rglob("*") if each.is_file()] == []
    nowhere = Settings(data_dir=tmp_path, storage_url="nosuch://key:secret@bucket")
    finding = found(doctor._storage, nowhere)["storage"]
    assert (finding.status, "secret" in finding.message) == ("problem", False)


def test_little_disk_and_a_ray_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = replace_free(doctor.shutil.disk_usage(tmp_path), 1000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    settings = Settings(data_dir=tmp_path, ray_address="127.0.0.1:9")
    assert found(doctor._disk, settings)["disk"].status == "problem"
    assert found(doctor._ray, settings)["ray address"].status == "problem"


def replace_free(usage: tuple[int, int, int], free: int) -> object:
    return type(usage)(*usage[:2], free)  # type: ignore[call-arg, arg-type]


@pytest.mark.ray
def test_torch_and_a_real_ray_are_probed(ray_address: str, tmp_path: Path) -> None:
    findings = found(doctor._compute, Settings(data_dir=tmp_path, ray_address=ray_address))
    assert {name: findings[name].status for name in ("torch", "gpu", "ray", "ray cluster")} == dict.fromkeys(
        ("torch", "gpu", "ray", "ray cluster"), "ok"
    ), findings


def test_optional_packages_are_told_and_their_absence_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = found(doctor._extras, Settings(data_dir=tmp_path, hub_url="https://hub.example"))
    assert "https://hub.example" in findings["hub"].message
    monkeypatch.setattr(doctor.extras, "is_here", lambda _package: False)
    absent = found(doctor._extras, Settings(data_dir=tmp_path))["transformers"]
    assert (absent.status, "warpadam[huggingface]" in absent.advice) == ("ok", True)

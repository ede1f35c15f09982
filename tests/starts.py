"""A start's row and file, for tests of who shows it; how one is made: tests/workers/meta/test_starts.py."""

from sqlalchemy.orm import Session

from service import families
from service.db.models import StartVersion
from service.db.session import Database
from service.storage import Storage
from tests.service.kit import NOW

MODEL = {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 4, "output": 2}


def make_start(
    database: Database, storage: Storage, project: str, family: str, *, version: int = 1, anchor: str = "0123456789ab"
) -> StartVersion:
    stored = storage.put("starts", f"weights {family} {version}".encode())

    def add(session: Session) -> StartVersion:
        row = StartVersion(
            family_id=families.ensure(session, project, family).id,
            version=version,
            anchor=anchor,
            identity="family",
            model=MODEL,
            epoch=1,
            rule="reptile",
            step=1.0,
            round=1,
            parent=0,
            jobs=[],
            datasets=[],
            path=stored.path,
            sha256=stored.sha256,
            size=stored.size,
            created_at=NOW,
        )
        session.add(row)
        session.flush()
        return row

    return database.write(add)

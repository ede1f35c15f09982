"""`python -m workers.check`: proves of each family's newest P and starts that they are what its ledger says.

It prints JSON.
"""

import json
import sys

from sqlalchemy import select

from service.db.limits import LONG_WORK
from service.db.models import Family
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage
from workers.meta.ledger import verify_ledger
from workers.meta.proof import verify_starts


def check(database: Database, storage: Storage) -> dict[str, object]:
    """How many families there are, and all their problems, each naming its family."""
    with database.read() as session:
        families = session.scalars(select(Family).order_by(Family.id)).all()
    found: list[str] = []
    for family in families:
        with database.read() as session:
            verification = verify_ledger(session, storage, family.id)
            problems = [*verification.problems, *verify_starts(session, storage, family.id)]
        found += [f"family {family.name}: {problem}" for problem in problems]
    return {"families": len(families), "problems": found}


def main() -> None:
    settings = Settings()
    database = Database(settings.database, LONG_WORK)
    sys.stdout.write(json.dumps(check(database, Storage(settings.storage))) + "\n")
    database.dispose()


if __name__ == "__main__":
    main()

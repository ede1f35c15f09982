"""`python -m workers.check`: proves for each family that its newest P is what its ledger says; a line per problem."""

import sys

from sqlalchemy import select

from service.db.models import Family
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage
from workers.meta.ledger import verify_ledger


def problems(database: Database, storage: Storage) -> list[str]:
    """All problems of all families, each naming its family."""
    with database.read() as session:
        families = session.scalars(select(Family).order_by(Family.id)).all()
    found = []
    for family in families:
        with database.read() as session:
            verification = verify_ledger(session, storage, family.id)
        found += [f"family {family.name}: {problem}" for problem in verification.problems]
    return found


def main() -> None:
    settings = Settings()
    database = Database(settings.database)
    sys.stdout.writelines(f"{problem}\n" for problem in problems(database, Storage(settings.storage)))
    database.dispose()


if __name__ == "__main__":
    main()

"""Whether a database has this version's schema."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine


@dataclass(frozen=True)
class Revision:
    """`current` is None for a database without our tables; `is_known` False: a newer version made it."""

    current: str | None
    head: str
    is_known: bool

    @property
    def is_newest(self) -> bool:
        return self.current == self.head


def find(url: str) -> Revision:
    """Reads only. Raises SQLAlchemy's errors where the database does not answer."""
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    known = {script.revision for script in scripts.walk_revisions()}
    return Revision(current, scripts.get_current_head() or "", current is None or current in known)

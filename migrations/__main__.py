"""`python -m migrations "what changes"` writes the next migration: what the models have and the schema has not."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from sqlalchemy import BigInteger

from service.db.models import UtcDateTime
from service.db.session import upgrade


def render_item(kind: str, item: object, _context: AutogenContext) -> str | bool:
    """Writes our column types as what they are in a database, so that a migration needs no models."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, BigInteger):
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    return False


def main(message: str) -> None:
    folder = Path(__file__).parent
    number = len(list((folder / "versions").glob("[0-9]*.py"))) + 1
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/newest.db"
        upgrade(url)
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        config.attributes["url"] = url
        config.attributes["render_item"] = render_item
        command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit('usage: python -m migrations "what changes"')
    main(sys.argv[1])

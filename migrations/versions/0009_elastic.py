"""Attempts whose number of workers changes: how many they may have, and which groups trained from which step on."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("attempts") as table:
        table.add_column(sa.Column("granted", INTEGER, nullable=True))
        table.add_column(sa.Column("groups", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("attempts") as table:
        table.alter_column("groups", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("attempts") as table:
        table.drop_column("groups")
        table.drop_column("granted")

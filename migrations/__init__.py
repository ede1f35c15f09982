"""Alembic migrations: how the database comes to be, and changes."""

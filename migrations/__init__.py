"""The schema's history (Alembic): `service.db.session.upgrade` runs it, `python -m migrations "what"` adds to it.

A migration is complete in itself: it names its own types and never imports the models, which will have moved on.
"""

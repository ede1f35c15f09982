"""Chaos: a whole service whose parts are really killed, and what must hold whatever dies."""

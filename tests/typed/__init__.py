"""What a user's type checker sees: mypy reads this in `make lint`; nothing here runs.

Lines that must be refused carry their error's code: mypy says so where it does not come (`warn_unused_ignores`).
"""

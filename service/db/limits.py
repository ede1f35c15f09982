"""How long PostgreSQL lets the service's connections wait and work."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long PostgreSQL lets a connection wait or work before it ends what it does; seconds, 0: for ever.

    SQLite knows none of them: a writer waits its turn for half a minute there.
    """

    statement_s: float = 60.0
    """One statement. Whoever asked it has given up long before, and it would hold its locks and its place."""
    lock_s: float = 30.0
    """For a lock that another transaction holds."""
    idle_s: float = 60.0
    """Within a transaction, without a statement: who stands still there holds up all others."""

    @property
    def options(self) -> str:
        """As the server takes them when a connection is made."""
        given = {
            "statement_timeout": self.statement_s,
            "lock_timeout": self.lock_s,
            "idle_in_transaction_session_timeout": self.idle_s,
        }
        return " ".join(f"-c {name}={round(1000 * seconds)}" for name, seconds in given.items())


LONG_WORK = Limits(statement_s=0.0, idle_s=0.0)
"""For what an operator starts and waits for: checks, backups, restores. Locks they wait for no longer than others."""

"""What the scripts of all applications share: where the database is, the two users, and how outcomes are checked.

Arguments: host, port, database, and what the script shall play.
"""

import sys
from uuid import UUID

import psycopg2

HOST, PORT, DATABASE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ACT = sys.argv[4] if len(sys.argv) > 4 else ""
USER = "postgres"
ADA = UUID("aaaaaaaa-0000-4000-8000-000000000001")
BOB = UUID("bbbbbbbb-0000-4000-8000-000000000002")


def portfolio(n):
    """The key of a portfolio."""
    return UUID(f"00000000-0000-4000-8000-{n:012}")


def equal(found, wanted, what):
    """Ends the script unless two values are the same."""
    if found != wanted:
        sys.exit(f"{what}: {found!r} where {wanted!r} was expected")


class Judge:
    """Looks at the rows on a connection of its own, which no application uses."""

    def __init__(self):
        self.connection = psycopg2.connect(host=HOST, port=PORT, dbname=DATABASE, user=USER)
        self.connection.autocommit = True

    def value(self, sql, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchone()[0]

    def name(self, key):
        return self.value("SELECT name FROM portfolios WHERE id = %s::uuid", str(key))

    def audited(self, key):
        """Audit rows of a portfolio."""
        return self.value("SELECT count(*) FROM audit WHERE portfolio_id = %s::uuid", str(key))

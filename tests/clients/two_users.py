"""What every driver's script shares: the scenario's statements and how its outcome is checked.

The two users work on one row of `projects`. The first reads it, the second changes it, and the first's write must be
refused, whatever the driver puts on the wire. Each script takes host, port and database as its arguments.
"""

import json
import sys

HOST, PORT, DATABASE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
USER = "postgres"
COLUMNS = ["id", "name", "budget"]


def equal(found, wanted, what):
    """Ends the script unless two values are the same."""
    if found != wanted:
        sys.exit(f"{what}: {found!r} where {wanted!r} was expected")


def check_refusal(sqlstate, message, detail, expected, actual, row):
    """Ends the script unless an error is the conflict of this row."""
    equal(sqlstate, "40001", "SQLSTATE")
    equal(message, f"version conflict on project {row}: expected version {expected}, actual version {actual}", "message")
    facts = json.loads(detail)
    equal((facts["expected_version"], facts["actual_version"]), (expected, actual), "versions in DETAIL")
    equal(facts["current_state"], {"name": "theirs"}, "state in DETAIL")

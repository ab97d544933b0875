"""psycopg2: simple queries with literals, BEGIN as a Query of its own."""

import psycopg2
import psycopg2.errors
import psycopg2.extras

from two_users import COLUMNS, DATABASE, HOST, PORT, USER, check_refusal, equal


def connect(autocommit):
    connection = psycopg2.connect(host=HOST, port=PORT, dbname=DATABASE, user=USER)
    connection.autocommit = autocommit
    return connection


def read(connection, row):
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, name, budget FROM projects WHERE id = %s", (row,))
        equal([c.name for c in cursor.description], COLUMNS, "columns")
        (found,) = cursor.fetchall()
        equal(len(found), len(COLUMNS), "width")
        return found


def write(connection, row, name):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE projects SET name = %s WHERE id = %s", (name, row))
        equal(cursor.rowcount, 1, "rows written")


def refused(connection, row, expected, actual):
    try:
        write(connection, row, "mine")
    except psycopg2.errors.SerializationFailure as error:
        check_refusal(error.pgcode, error.diag.message_primary, error.diag.message_detail, expected, actual, row)
    else:
        raise SystemExit("the stale write landed")


def autocommit(row):
    mine, theirs = connect(True), connect(True)
    read(mine, row)
    write(theirs, row, "theirs")
    refused(mine, row, 1, 2)
    equal(read(mine, row)[1], "theirs", "name")
    write(mine, row, "mine")
    equal(read(theirs, row)[1], "mine", "name")


def transaction(row):
    mine, theirs = connect(False), connect(True)
    read(mine, row)
    write(theirs, row, "theirs")
    refused(mine, row, 1, 2)
    equal(mine.info.transaction_status, psycopg2.extensions.TRANSACTION_STATUS_INERROR, "status")
    mine.rollback()
    read(mine, row)
    write(mine, row, "mine")
    mine.commit()
    equal(read(theirs, row)[1], "mine", "name")
    with mine.cursor() as cursor:
        psycopg2.extras.execute_values(
            cursor, "UPDATE projects p SET name = v.n FROM (VALUES %s) v(id, n) WHERE p.id = v.id", [(row, "batch")]
        )
        psycopg2.extras.execute_batch(
            cursor, "UPDATE projects SET budget = %s WHERE id = %s", [(1, row), (2, row), (3, row)]
        )
    mine.commit()


autocommit(1)
transaction(2)

"""psycopg 3: extended protocol, parameters and results in text and binary, prepared statements, pipelines."""

import psycopg

from two_users import COLUMNS, DATABASE, HOST, PORT, USER, check_refusal, equal


def connect(autocommit):
    return psycopg.connect(host=HOST, port=PORT, dbname=DATABASE, user=USER, autocommit=autocommit)


def read(connection, row, binary=False, prepare=None):
    with connection.cursor(binary=binary) as cursor:
        cursor.execute("SELECT id, name, budget FROM projects WHERE id = %s", (row,), prepare=prepare)
        equal([c.name for c in cursor.description], COLUMNS, "columns")
        (found,) = cursor.fetchall()
        equal(len(found), len(COLUMNS), "width")
        return found


def write(connection, row, name, prepare=None):
    cursor = connection.execute("UPDATE projects SET name = %s WHERE id = %s", (name, row), prepare=prepare)
    equal(cursor.rowcount, 1, "rows written")


def refused(connection, row, expected, actual, prepare=None):
    try:
        write(connection, row, "mine", prepare)
    except psycopg.errors.SerializationFailure as error:
        check_refusal(error.sqlstate, error.diag.message_primary, error.diag.message_detail, expected, actual, row)
    else:
        raise SystemExit("the stale write landed")


def autocommit(row, binary, prepare):
    mine, theirs = connect(True), connect(True)
    read(mine, row, binary, prepare)
    write(theirs, row, "theirs", prepare)
    refused(mine, row, 1, 2, prepare)
    equal(read(mine, row, binary, prepare)[1], "theirs", "name")
    write(mine, row, "mine", prepare)
    equal(read(theirs, row, binary, prepare)[1], "mine", "name")


def transaction(row):
    mine, theirs = connect(False), connect(True)
    read(mine, row)
    write(theirs, row, "theirs")
    try:
        with mine.transaction():
            refused(mine, row, 1, 2)
            equal(mine.info.transaction_status, psycopg.pq.TransactionStatus.INERROR, "status")
            raise psycopg.Rollback
    finally:
        equal(mine.info.transaction_status, psycopg.pq.TransactionStatus.INTRANS, "status")
    read(mine, row)
    write(mine, row, "mine")
    mine.commit()
    equal(read(theirs, row)[1], "mine", "name")


def many_runs(row):
    mine = connect(True)
    for run in range(12):
        read(mine, row, binary=run % 2 == 0)
        write(mine, row, f"run {run}")
    equal(read(mine, row)[1], "run 11", "name")


def pipeline(row):
    mine, theirs = connect(True), connect(True)
    read(mine, row)
    with mine.pipeline():
        first = mine.execute("SELECT name FROM projects WHERE id = %s", (row,))
        write_cursor = mine.execute("UPDATE projects SET name = %s WHERE id = %s", ("piped", row))
        second = mine.execute("SELECT name FROM projects WHERE id = %s", (row,))
    equal((len(first.fetchone()), write_cursor.rowcount), (1, 1), "pipeline")
    equal(second.fetchone(), ("piped",), "name")
    equal(read(theirs, row)[1], "piped", "name")


def server_cursor(row):
    mine = connect(False)
    with mine.cursor(name="c") as cursor:
        cursor.execute("SELECT id, name, budget FROM projects ORDER BY id")
        equal(len(cursor.fetchmany(3)), 3, "rows")
    with psycopg.ClientCursor(mine) as cursor:
        cursor.execute("UPDATE projects SET name = %s WHERE id = %s", ("client", row))
        equal(cursor.rowcount, 1, "rows written")
    with mine.cursor() as cursor:
        cursor.executemany("UPDATE projects SET budget = %s WHERE id = %s", [(1, row), (2, row)])
        equal(cursor.rowcount, 2, "rows written")
        for data in cursor.stream("SELECT id, name FROM projects ORDER BY id"):
            equal(len(data), 2, "width")
    with mine.cursor().copy("COPY projects (id, name) TO STDOUT") as copy:
        equal(len(list(copy.rows())), 9, "rows copied")
    mine.commit()


autocommit(1, binary=False, prepare=None)
autocommit(2, binary=True, prepare=None)
autocommit(3, binary=True, prepare=True)
transaction(4)
many_runs(5)
pipeline(6)
server_cursor(7)

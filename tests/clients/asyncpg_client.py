"""asyncpg: named statements, Describe and Flush before Bind, everything binary, portals with max_rows."""

import asyncio

import asyncpg

from two_users import COLUMNS, DATABASE, HOST, PORT, USER, check_refusal, equal

READ = "SELECT id, name, budget FROM projects WHERE id = $1"
WRITE = "UPDATE projects SET name = $1 WHERE id = $2"


async def connect():
    return await asyncpg.connect(host=HOST, port=PORT, database=DATABASE, user=USER)


async def read(connection, row):
    found = await connection.fetchrow(READ, row)
    equal(list(found.keys()), COLUMNS, "columns")
    return found


async def write(connection, row, name):
    equal(await connection.execute(WRITE, name, row), "UPDATE 1", "command tag")


async def refused(connection, row, expected, actual):
    try:
        await write(connection, row, "mine")
    except asyncpg.SerializationError as error:
        check_refusal(error.sqlstate, error.args[0], error.detail, expected, actual, row)
    else:
        raise SystemExit("the stale write landed")


async def autocommit(row):
    mine, theirs = await connect(), await connect()
    await read(mine, row)
    await write(theirs, row, "theirs")
    await refused(mine, row, 1, 2)
    equal((await read(mine, row))["name"], "theirs", "name")
    await write(mine, row, "mine")
    equal((await theirs.fetch(READ, row))[0]["name"], "mine", "name")
    await mine.close()
    await theirs.close()


async def transaction(row):
    mine, theirs = await connect(), await connect()
    async with mine.transaction():
        await read(mine, row)
        await write(theirs, row, "theirs")
        try:
            async with mine.transaction():
                await write(mine, row, "mine")
        except asyncpg.SerializationError as error:
            check_refusal(error.sqlstate, error.args[0], error.detail, 1, 2, row)
        else:
            raise SystemExit("the stale write landed")
        # The savepoint has been rolled back to; the outer transaction goes on.
        await read(mine, row)
        await write(mine, row, "mine")
    equal(await theirs.fetchval("SELECT name FROM projects WHERE id = $1", row), "mine", "name")


async def statements_and_cursors(row):
    mine = await connect()
    statement = await mine.prepare(READ)
    equal([a.name for a in statement.get_attributes()], COLUMNS, "attributes")
    equal([p.name for p in (await mine.prepare(WRITE)).get_parameters()], ["varchar", "int4"], "parameters")
    for _ in range(8):
        equal(len(await statement.fetchrow(row)), len(COLUMNS), "width")
        await write(mine, row, "again")
    async with mine.transaction():
        cursor = await mine.cursor("SELECT id, name FROM projects ORDER BY id")
        equal([len(r) for r in await cursor.fetch(5)], [2] * 5, "widths")
    await mine.executemany("UPDATE projects SET budget = $1 WHERE id = $2", [(1, row), (2, row), (3, row)])
    equal(await mine.fetchval("UPDATE projects SET name = $1 WHERE id = $2 RETURNING name", "r", row), "r", "name")
    equal(await mine.execute("UPDATE projects SET name = 'simple' WHERE id = 1"), "UPDATE 1", "command tag")


async def pool(row):
    async with asyncpg.create_pool(
        host=HOST, port=PORT, database=DATABASE, user=USER, min_size=1, max_size=1
    ) as connections:
        async with connections.acquire() as mine:
            await read(mine, row)
        other = await connect()
        await write(other, row, "theirs")
        # The pool's reset has made it another user's connection: nothing is known of the row.
        async with connections.acquire() as mine:
            await write(mine, row, "mine")


async def main():
    await autocommit(1)
    await transaction(2)
    await statements_and_cursors(3)
    await pool(4)


asyncio.run(main())

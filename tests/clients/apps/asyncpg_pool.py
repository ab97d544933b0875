"""asyncpg with a pool of two connections, which it resets after each use. A save writes without reading first.

Acts: how the user is told to the proxy. Then `refused` or `lands`: what becomes of the second save.
"""

import asyncio
import sys
from itertools import count

import asyncpg

from people import ACT, ADA, DATABASE, HOST, PORT, USER, equal, portfolio, two_forms

REFUSED = sys.argv[5] == "refused"
READ = "SELECT id, name, description FROM portfolios WHERE id = $1"
WRITE = "UPDATE portfolios SET name = $2 WHERE id = $1"
requests = count(1)


def tagged(sql, user, request):
    return f"{sql} /*user='{user}',traceparent='{request}'*/" if ACT == "comment" else sql


async def told(connection, user, request):
    """Says who is at work, as the act has it."""
    if ACT == "setting":
        await connection.execute("SELECT set_config('app.user_id', $1, false)", str(user))
        await connection.execute("SELECT set_config('app.request_id', $1, false)", str(request))
    elif ACT == "lookup":
        await connection.fetchrow("SELECT id, email FROM users WHERE id = $1", user)


async def handle(pool, user, work):
    request = next(requests)
    # Every other request finds the first connection busy.
    busy = await pool.acquire() if request % 2 else None
    try:
        async with pool.acquire() as connection:
            if ACT == "lookup":
                async with connection.transaction():
                    await told(connection, user, request)
                    return await work(connection, request)
            await told(connection, user, request)
            return await work(connection, request)
    finally:
        if busy is not None:
            await pool.release(busy)


with asyncio.Runner() as runner:
    pool = runner.run(
        asyncpg.create_pool(host=HOST, port=PORT, database=DATABASE, user=USER, min_size=2, max_size=2).__aenter__()
    )

    def read(user, key):
        async def work(connection, request):
            await connection.fetchrow(tagged(READ, user, request), key)

        runner.run(handle(pool, user, work))

    def save(user, key, name):
        async def work(connection, request):
            equal(await connection.execute(tagged(WRITE, user, request), key, name), "UPDATE 1", "rows written")
            return True

        try:
            return runner.run(handle(pool, user, work))
        except asyncpg.exceptions.SerializationError as error:
            equal(error.constraint_name, "portfolios_version_conflict", "constraint")
            return False

    two_forms(read, save, portfolio(1), REFUSED)
    runner.run(pool.close())

"""SQLAlchemy with one pool, its handlers as usual: a save reads the row again, sets what the form says, and commits.

Acts: how the user is told to the proxy. Then `refused` or `lands`: what becomes of the second save.
"""

import sys

from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from fastapi_app import Portfolio
from people import ACT, ADA, BOB, DATABASE, HOST, PORT, USER, equal, portfolio, two_forms

REFUSED = sys.argv[5] == "refused"
engine = create_engine(
    f"postgresql+psycopg2://{USER}@{HOST}:{PORT}/{DATABASE}", pool_pre_ping=True, pool_size=2, max_overflow=0
)


@event.listens_for(Session, "after_begin")
def setting(session, transaction, connection):
    if ACT == "setting":
        connection.execute(text("SELECT set_config('app.user_id', :user, true)"), {"user": session.info["user"]})
    elif ACT == "set local":
        connection.exec_driver_sql(f"SET LOCAL app.user_id = '{session.info['user']}'")


@event.listens_for(engine, "before_cursor_execute", retval=True)
def comment(connection, cursor, statement, parameters, context, executemany):
    tags = connection.get_execution_options().get("tags", "")
    return statement + tags, parameters


def session(user, **tags):
    if ACT in ("comment", "tabs"):
        tags["user"] = str(user)
    tags = ",".join(f"{key}='{value}'" for key, value in tags.items())
    bind = engine.execution_options(tags=f" /*{tags}*/" if tags else "")
    return Session(bind, info={"user": str(user)})


def read(user, key, **tags):
    with session(user, **tags) as work:
        work.get(Portfolio, key)


def save(user, key, name, **tags):
    with session(user, **tags) as work:
        work.get(Portfolio, key).name = name
        try:
            work.commit()
        except OperationalError as error:
            equal(error.orig.pgcode, "40001", "SQLSTATE")
            return False
        return True


# Both connections are open, so requests take turns on them.
for connection in [engine.connect(), engine.connect()]:
    connection.close()
if ACT == "tabs":
    # One user with the same page open twice. Labelled by user the second tab's save passes.
    key = portfolio(1)
    read(ADA, key)
    read(ADA, key)
    equal([save(ADA, key, "tab 1"), save(ADA, key, "tab 2")], [True, True], "saves labelled by user")
    # With the version that the page was made from it is refused.
    key = portfolio(2)
    read(ADA, key)
    read(ADA, key)
    saves = [save(ADA, key, f"tab {n}", expected_version="1") for n in (1, 2)]
    equal(saves, [True, False], "saves with expected_version")
elif ACT == "by tab":
    # Each tab is a context of its own.
    key = portfolio(3)
    read(ADA, key, tab="1")
    read(ADA, key, tab="2")
    equal(save(ADA, key, "tab 1", tab="1"), True, "the first tab's save")
    equal(save(ADA, key, "tab 2", tab="2"), False, "the second tab's save")
    read(ADA, key, tab="2")
    equal(save(ADA, key, "tab 2", tab="2"), True, "the second tab's save after a refresh")
else:
    two_forms(read, save, portfolio(1), REFUSED)

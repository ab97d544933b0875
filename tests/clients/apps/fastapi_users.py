"""Two users of the FastAPI application, over HTTP. Acts: `proxied`, `direct`, `own code`."""

import threading

from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from fastapi_app import create_app
from people import ACT, ADA, BOB, DATABASE, HOST, PORT, USER, Judge, equal, portfolio

URL = f"postgresql+psycopg2://{USER}@{HOST}:{PORT}/{DATABASE}"


class Browser:
    """One user with one page open."""

    def __init__(self, app, user, key):
        self.http = TestClient(app, raise_server_exceptions=False, headers={"X-User": str(user)})
        self.url = f"/portfolios/{key}"
        self.form = None

    def open(self):
        reply = self.http.get(self.url)
        equal(reply.status_code, 200, "status of the page")
        self.form = reply.json()

    def save(self, **changed):
        """Sends the form with some fields changed. The status, and what the user is told."""
        reply = self.http.put(self.url, json=self.form | changed)
        return reply.status_code, reply.json().get("detail")


SAVED = (200, None)
UNAVAILABLE = (503, "The database is not available")


def connections_used(engine):
    """The connections that requests get from the pool, from now on."""
    used = []
    event.listen(engine, "checkout", lambda connection, *_: used.append(id(connection)))
    return used


def filled(app, size):
    """Opens the pool's connections."""
    held = [app.state.engine.connect() for _ in range(size)]
    for connection in held:
        connection.close()
    return app


def two_forms(app, key, sizes):
    judge = Judge()
    used = connections_used(app.state.engine)
    ada, bob = Browser(app, ADA, key), Browser(app, BOB, key)
    ada.open()
    bob.open()
    equal(ada.save(name="ada's"), SAVED, "the first save")
    equal(judge.audited(key), 1, "audit rows")
    # Bob has not even touched the name: his form sends back what it was filled with.
    equal(bob.save(description="bob's"), UNAVAILABLE, "the second save")
    equal(bob.save(description="bob's"), UNAVAILABLE, "a repeat of it")
    equal(judge.name(key), "ada's", "name")
    equal(judge.value("SELECT description FROM portfolios WHERE id = %s::uuid", str(key)), "", "description")
    equal(judge.audited(key), 1, "audit rows after the refusals")
    # After a refresh it succeeds, and nothing of Ada's is lost.
    bob.open()
    equal(bob.form["name"], "ada's", "name in the refreshed form")
    equal(bob.save(description="bob's"), SAVED, "the save after a refresh")
    equal(judge.name(key), "ada's", "name after it")
    # Whoever saves twice in a row does not conflict with himself.
    equal(bob.save(description="bob's again"), SAVED, "the save behind it")
    equal(ada.save(name="ada's again"), UNAVAILABLE, "the first user's save, from a page that is old by now")
    ada.open()
    for n in range(2):
        equal(ada.save(name=f"ada's {n}"), SAVED, "the first user's save after a refresh")
    equal(judge.audited(key), 5, "audit rows at the end")
    equal(len(set(used)), sizes, "connections used")


def overwritten(app, key):
    """Without the proxy: the second save takes the first one back, and nobody is told."""
    judge = Judge()
    ada, bob = Browser(app, ADA, key), Browser(app, BOB, key)
    ada.open()
    bob.open()
    equal(ada.save(name="ada's"), SAVED, "the first save")
    equal(bob.save(description="bob's"), SAVED, "the second save")
    equal(judge.name(key), "portfolio 1", "name")


def at_the_same_time(app, key, protected):
    """All have the page open, and all save at the same time; several rounds."""
    rounds = 6
    users = [ADA, BOB] if protected else [ADA, BOB, ADA, BOB]
    browsers = [Browser(app, user, key) for user in users]
    together = threading.Barrier(len(browsers))
    outcomes = [[] for _ in browsers]

    def work(browser, outcome):
        for _ in range(rounds):
            together.wait()
            browser.open()
            together.wait()
            outcome.append(browser.save(saves=browser.form["saves"] + 1))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(browsers, outcomes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saves = Judge().value("SELECT saves FROM portfolios WHERE id = %s::uuid", str(key))
    equal(saves, rounds, "saves that stayed")
    for round in zip(*outcomes):
        equal(round.count(SAVED), 1 if protected else len(browsers), f"saves that succeeded of {round}")
        equal(round.count(SAVED) + round.count(UNAVAILABLE), len(browsers), f"outcomes of {round}")


def answers_409(app):
    """What an application adds that wants to tell its user."""

    @app.exception_handler(DBAPIError)
    def conflict(request, error):
        if (error.orig.diag.constraint_name or "").endswith("_version_conflict"):
            return JSONResponse({"detail": "Somebody else has changed this. Load the page again."}, status_code=409)
        raise error


def refused_with(app, key):
    """What the user is told whose save is refused."""
    ada, bob = Browser(app, ADA, key), Browser(app, BOB, key)
    ada.open()
    bob.open()
    equal(ada.save(name="ada's"), SAVED, "the first save")
    return bob.save(name="bob's")


match ACT:
    case "proxied":
        for n, size in enumerate([1, 2], 1):
            two_forms(filled(create_app(URL, size), size), portfolio(n), size)
        at_the_same_time(create_app(URL, 4), portfolio(3), True)
    case "direct":
        overwritten(create_app(URL), portfolio(1))
        at_the_same_time(create_app(URL, 4), portfolio(3), False)
    case "own code":
        # No driver knows the code, so it is no OperationalError any more.
        equal(refused_with(create_app(URL), portfolio(1)), (500, "Something went wrong"), "with the generic handlers")
        app = create_app(URL)
        answers_409(app)
        told = (409, "Somebody else has changed this. Load the page again.")
        equal(refused_with(app, portfolio(2)), told, "with a handler of its own")
    case _:
        raise SystemExit(f"no such act: {ACT}")

"""Django in autocommit, each request on a connection of its own, with its real sessions. Over WSGI.

A save reads the row, sets what the form says, and writes all columns (`save()`).
Acts: how the user is told to the proxy. Then `refused` or `lands`: what becomes of the second save.
"""

import sys
from itertools import count

import django
import httpx
from django.conf import settings

from people import ACT, ADA, BOB, DATABASE, HOST, PORT, USER, equal, portfolio, two_forms

REFUSED = sys.argv[5] == "refused"
settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="a secret of the tests",
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.tell",
    ],
    LOGGING_CONFIG=None,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": HOST,
            "PORT": PORT,
            "NAME": DATABASE,
            "USER": USER,
            "ATOMIC_REQUESTS": ACT == "atomic requests",
        }
    },
)
django.setup()

from django.contrib.auth import authenticate, login  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import OperationalError, connection, models  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

requests = count(1)


class Portfolio(models.Model):
    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    description = models.TextField()

    class Meta:
        app_label = "apps"
        managed = False
        db_table = "portfolios"


def tell(get_response):
    """Middleware that says who is at work, as the act has it."""

    def with_comment(request):
        tags = f"/*user='{request.user.pk}',traceparent='{next(requests)}'*/"
        wrapper = lambda execute, sql, *rest: execute(f"{sql} {tags}", *rest)  # noqa: E731
        with connection.execute_wrapper(wrapper):
            return get_response(request)

    def with_setting(request):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.user_id', %s, false)", [str(request.user.pk)])
            cursor.execute("SELECT set_config('app.request_id', %s, false)", [str(next(requests))])
        return get_response(request)

    return {"comment": with_comment, "setting": with_setting}.get(ACT, get_response)


def enter(request):
    login(request, authenticate(username=request.POST["name"], password="pw"))
    return HttpResponse()


@login_required
def form(request, key):
    found = Portfolio.objects.get(pk=key)
    if request.method == "POST":
        found.name = request.POST["name"]
        found.save()
    return JsonResponse({"name": found.name})


urlpatterns = [path("login", enter), path("portfolios/<uuid:key>", form)]
call_command("migrate", verbosity=0)
hasher = ["django.contrib.auth.hashers.MD5PasswordHasher"]
settings.PASSWORD_HASHERS = hasher
people = {}
for user, name in [(ADA, "ada"), (BOB, "bob")]:
    User.objects.create_user(name, password="pw")
    people[user] = httpx.Client(
        transport=httpx.WSGITransport(get_wsgi_application(), raise_app_exceptions=False), base_url="http://localhost"
    )
    equal(people[user].post("/login", data={"name": name}).status_code, 200, "login")
connection.close()


def read(user, key):
    equal(people[user].get(f"/portfolios/{key}").status_code, 200, "status of the page")


def save(user, key, name):
    status = people[user].post(f"/portfolios/{key}", data={"name": name}).status_code
    if status != 200:
        equal(status, 500, "status of a refused save")
    return status == 200


two_forms(read, save, portfolio(1), REFUSED)

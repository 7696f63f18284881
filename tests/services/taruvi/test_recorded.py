"""The requests are those that the published client was recorded with, or they are on the list in the documentation."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.services.taruvi import Client, TaruviError
from tests.support.taruvi_server import Received, TaruviServer

PAGE = (Path(__file__).parents[3] / "docs/taruvi.md").read_text()
RECORDED = [json.loads(line) for line in (Path(__file__).parent / "recorded.jsonl").read_text().splitlines()]
DOC = {"kind": "document", "id": "doc1"}
FILES = [("p1.jpg", io.BytesIO(b"AAA"), "image/jpeg"), ("p2.bin", b"BBB", "x/y")]

CURRENT: dict[str, Callable[[Any], Any]] = {
    "auth.signInWithPassword(email,password)": lambda c: c.auth.signInWithPassword(email="u@x", password="p"),
    "auth.signInWithToken jwt -> settings.get": lambda c: c.auth.signInWithToken(
        "TOK_jwt", token_type="jwt"
    ).settings.get(),
    "auth.signInWithToken api_key -> settings.get": lambda c: c.auth.signInWithToken(
        "TOK_api_key", token_type="api_key"
    ).settings.get(),
    "auth.signInWithToken session_token -> settings.get": lambda c: c.auth.signInWithToken(
        "TOK_session_token", token_type="session_token"
    ).settings.get(),
    "auth.signOut -> settings.get": lambda c: c.auth.signOut().settings.get(),
    "auth.get_current_user": lambda c: c.auth.get_current_user(),
    "AuthManager(unused).signInWithPassword": lambda c: c.auth.login("u", "p"),
    "AuthManager(unused).refreshToken": lambda c: c.auth.refresh_token("r"),
    "functions.execute": lambda c: c.functions.execute("process-order", params={"order_id": 1}),
    "functions.execute is_async": lambda c: c.functions.execute("x", {"d": 1}, is_async=True),
    "functions.execute is_async=False no params": lambda c: c.functions.execute("x", is_async=False),
    "functions.get_result": lambda c: c.functions.get_result("task-1"),
    "functions.list": lambda c: c.functions.list(limit=50, offset=0),
    "functions.get": lambda c: c.functions.get("process-order"),
    "functions.get_invocation": lambda c: c.functions.get_invocation(7),
    "functions.list_invocations": lambda c: c.functions.list_invocations("x", "SUCCESS"),
    "db from_ execute plain": lambda c: c.database.from_("users").execute(),
    "db filters": lambda c: (
        c.database.query("users")
        .filter("is_active", "eq", True)
        .filter("age", "gte", 18)
        .filter("email", "contains", "@e.com")
        .get()
    ),
    "db sort+page": lambda c: c.database.query("users").sort("created_at", "desc").page_size(20).page(2).get(),
    "db page(1) omitted": lambda c: c.database.query("users").page(1).get(),
    "db populate": lambda c: c.database.query("orders").populate("customer", "product").get(),
    "db in list": lambda c: c.database.query("u").filter("id", "in", [1, 2]).filter("x", "isnull", False).get(),
    "db same filter twice": lambda c: c.database.query("u").filter("a", "gt", 1).filter("a", "gt", 2).get(),
    "db first": lambda c: c.database.query("u").first(),
    "db count": lambda c: c.database.query("u").filter("is_active", "eq", True).count(),
    "db builder get(id).execute": lambda c: c.database.get("u", 5),
    "db builder create": lambda c: c.database.create("u", {"a": 1}),
    "db builder update": lambda c: c.database.update("u", 5, {"a": 1}),
    "db builder delete id": lambda c: c.database.delete("u", 5),
    "db builder delete ids": lambda c: c.database.delete("u", ids=[1, 2]),
    "db builder delete filtered": lambda c: c.database.delete("u", filter={"a": 1}),
    "db.get": lambda c: c.database.get("users", 123),
    "db.create one": lambda c: c.database.create("users", {"email": "a"}),
    "db.create bulk": lambda c: c.database.create("users", [{"email": "a"}, {"email": "b"}]),
    "db.update one": lambda c: c.database.update("users", record_id=123, data={"n": 1}),
    "db.update bulk positional": lambda c: c.database.update("users", [{"id": 1}, {"id": 2}]),
    "db.delete id": lambda c: c.database.delete("users", record_id=123),
    "db.delete ids": lambda c: c.database.delete("users", record_ids=[1, 2]),
    "db.delete filter": lambda c: c.database.delete("users", filters={"is_active": False}),
    "db table name with slash/.. (path injection)": lambda c: c.database.get("../../../secrets", "K?x=1"),
    "users.list": lambda c: c.users.list_users(
        search="alice", is_active=True, roles="admin,editor", page=1, page_size=20
    ),
    "users.get": lambda c: c.users.get_user("alice"),
    "users.create": lambda c: c.users.create_user("b", "b@x", "p", "p"),
    "users.update": lambda c: c.users.update_user("bob", email="b"),
    "users.delete": lambda c: c.users.delete_user("bob"),
    "users.apps": lambda c: c.users.get_user_apps("alice"),
    "users.assign_roles": lambda c: c.users.assign_roles(["e"], ["a", "b"], expires_at="2025-12-31T23:59:59Z"),
    "users.revoke_roles": lambda c: c.users.revoke_roles(["e"], ["a"]),
    "users.get_preferences": lambda c: c.users.get_preferences(),
    "users.update_preferences": lambda c: c.users.update_preferences({"theme": "dark"}),
    "storage.list_buckets": lambda c: c.storage.list_buckets(search="i", page=1),
    "storage.create_bucket": lambda c: c.storage.create_bucket("images"),
    "storage.get_bucket": lambda c: c.storage.get_bucket("images"),
    "storage.update_bucket": lambda c: c.storage.update_bucket("images", visibility="public"),
    "storage.delete_bucket": lambda c: c.storage.delete_bucket("images"),
    "storage list filter": lambda c: (
        c.storage.from_("images").filter(page=2, search="a b", mimetype_category="image").list()
    ),
    "storage list filter as in the seed (3 positional)": lambda c: (
        c.storage.from_("images").filter("mimetype", "contains", "image/").list()
    ),
    "storage upload": lambda c: c.storage.from_("images").upload(
        FILES, ["d/p1.jpg", "p2.bin"], metadatas=[{"k": 1}, {}]
    ),
    "storage download": lambda c: c.storage.from_("images").download("dir/ph oto#1.jpg"),
    "storage update": lambda c: c.storage.from_("images").update("p.jpg", {"a": 1}, visibility="public"),
    "storage delete": lambda c: c.storage.from_("images").delete(["a", "b"]),
    "storage copy": lambda c: c.storage.from_("images").copy_object("a", "b", "bk"),
    "storage move": lambda c: c.storage.from_("images").move_object("a", "b"),
    "storage browse": lambda c: c.storage.from_("images").browse(prefix="r/"),
    "storage view_access": lambda c: c.storage.from_("images").view_access("a.docx"),
    "storage edit_access": lambda c: c.storage.from_("images").edit_access("a.docx"),
    "secrets.list": lambda c: c.secrets.list_secrets(),
    "secrets.list filters": lambda c: c.secrets.list_secrets(
        search="API", app="other", tags=["production"], secret_type="api_key", page_size=50
    ),
    "secrets.list keys batch": lambda c: c.secrets.get_secrets(["A", "B"], include_metadata=True),
    "secrets.get": lambda c: c.secrets.get_secret("DATABASE_URL"),
    "secrets.get app+tags": lambda c: c.secrets.get_secret("STRIPE_KEY", "production", ["payment", "production"]),
    "secrets.get key with slash": lambda c: c.secrets.get_secret("a/b"),
    "policy.check_resources": lambda c: c.policy.check_resources([{"resource": DOC, "actions": ["view", "edit"]}]),
    "policy.check_resources principal+aux": lambda c: c.policy.check_resources(
        [], principal={"id": "u"}, aux_data={"jwt": {}}
    ),
    "policy.filter_allowed": lambda c: c.policy.filter_allowed([DOC], ["view"]),
    "policy.get_allowed_actions": lambda c: c.policy.get_allowed_actions(DOC, ["view", "edit"]),
    "policy.get_allowed_actions default": lambda c: c.policy.get_allowed_actions(DOC),
    "analytics.execute": lambda c: c.analytics.execute("monthly-revenue", params={"start_date": "2024-01-01"}),
    "app.roles": lambda c: c.app.roles(),
    "app.settings": lambda c: c.app.settings(),
    "settings.get": lambda c: c.settings.get(),
}
"""The cases of today's wire, as calls of ours."""

LATER: dict[str, Callable[[Any], Any]] = {
    "users.list": lambda c: c.users.list(search="alice", is_active=True, roles="admin,editor", page=1, page_size=20),
    "users.get": lambda c: c.users.get("alice"),
    "users.create": lambda c: c.users.create(
        {"username": "b", "email": "b@x", "password": "p", "confirm_password": "p"}
    ),
    "users.update": lambda c: c.users.update("bob", {"email": "b"}),
    "users.delete": lambda c: c.users.delete("bob"),
    "users.apps": lambda c: c.users.apps("alice"),
    "secrets.list": lambda c: c.secrets.list(),
    "secrets.list keys batch": lambda c: c.secrets.list(keys=["A", "B"], include_metadata=True),
    "secrets.get": lambda c: c.secrets.get("DATABASE_URL"),
}
"""The same by the names of later versions."""

ABSENT = {
    "db tree filter",
    "db aggregate",
    "db vector",
    "db graph",
    "db edges",
    "db builder upsert",
    "env vars: TARUVI_API_KEY/TIMEOUT/MAX_RETRIES/SITE_SLUG",
    "env key + signInWithToken(jwt) + signOut",
    "function runtime env",
}
"""Cases that the guide does not promise, or that another test has."""

DIFFERENT = {
    "db table name with slash/.. (path injection)",
    "secrets.get key with slash",
    "storage list filter as in the seed (3 positional)",
    'seed: client.storage.from_("images").filter("mimetype", "contains", "image/").list()',
    'seed: client.secrets.list_secrets(search="API", secret_type="api_key", tags="production", page_size=50)',
    'seed: client.storage.from_("images").upload([("p.jpg", io.BytesIO(b"A"))], ["p.jpg"])',
}
"""Cases in which our request is another one, each of which the documentation gives a reason for."""

_KEPT = ("Authorization", "X-Session-Token")


def simplify(request: Received) -> dict[str, Any]:
    """Return a request in the form of the recording."""
    body = request.body
    if body is not None and "multipart" not in body:
        body = {"json": body}
    headers = {name: request.headers[name.lower()] for name in _KEPT if name.lower() in request.headers}
    return {
        "method": request.method,
        "path": request.path,
        "query": sorted(request.query),
        "headers": headers,
        "body": body,
    }


def _expect(row: dict[str, Any]) -> dict[str, Any]:
    headers = {name: value for name, value in row["headers"].items() if name in _KEPT}
    return {
        **{name: row[name] for name in ("method", "path", "body")},
        "query": sorted(row["query"]),
        "headers": headers,
    }


def _recorded(wire: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in RECORDED:
        if row["wire"] == wire:
            found[row["case"]].append(_expect(row))
    return found


CASES = [("current", case) for case in _recorded("current") if case not in ABSENT]
CASES += [
    ("2026-01", case) for case in _recorded("2026-01") if case.startswith("seed: client.") and "auth." not in case
]


CASES += [("later", case) for case in LATER]


def make_call(wire: str, case: str) -> Callable[[Any], Any]:
    if wire == "later":
        return LATER[case]
    if wire == "current":
        return CURRENT[case]
    code = compile(case.removeprefix("seed: "), case, "eval")
    return lambda client: eval(code, {"client": client, "io": io})


@pytest.mark.parametrize(("wire", "case"), CASES, ids=lambda value: value)
def test_the_requests_are_those_of_the_published_client(wire: str, case: str, taruvi_server: TaruviServer) -> None:
    served = "current" if wire == "later" else wire
    client = Client(taruvi_server.url, "a", wire=served, max_retries=0)
    signed = client.auth.signInWithToken("JWT_FAKE" if served == "current" else "J")
    unsigned = any(name in case for name in ("AuthManager", "(email,password)"))
    with client, signed:
        try:
            make_call(wire, case)(client if unsigned else signed)
        except TaruviError:
            pass  # of answers that the stand-in does not have, and of what is refused before it is sent
    requests = sorted(map(simplify, taruvi_server.received), key=lambda each: str(each["path"]))
    assert (requests == _recorded(served)[case]) is (case not in DIFFERENT), requests


def test_every_recorded_case_is_made_or_named() -> None:
    assert set(_recorded("current")) == set(CURRENT) | ABSENT


def test_the_documentation_has_the_differences() -> None:
    assert "## Differences" in PAGE

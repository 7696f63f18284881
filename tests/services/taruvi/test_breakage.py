"""What breaks off, hangs, leads astray or is cancelled: what becomes of calls, files, logins and credentials."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi import Client, TaruviError
from polvo_adapters.services.taruvi.limits import Limits
from polvo_adapters.services.taruvi.operations import Call
from polvo_adapters.services.taruvi.settings import read_settings
from tests.services.taruvi.modes import MODES, call
from tests.support.leaping_clock import Leap
from tests.support.taruvi_server import FILE, Reply, TaruviServer

PASSWORD = "HUNTER-2"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polvo_adapters.runtime.clock.SystemTime.uniform", lambda *_: 0.001)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("retries", [0, 2])
def test_a_download_that_breaks_off_leaves_nothing_in_the_file(
    mode: str, retries: int, taruvi_server: TaruviServer
) -> None:
    taruvi_server.script.append(Reply(200, b"x" * 1000, cut=400))
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)

    def use(client: Any) -> Any:
        return client.storage.from_("b").download("a", to=file)

    with pytest.raises(taruvi.NetworkError):
        call(mode, taruvi_server.url, use, max_retries=retries)
    assert file.getvalue() == b"before"
    assert call(mode, taruvi_server.url, use) == b""
    assert file.getvalue() == b"before" + FILE


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_goes_on_is_not_cut_off(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(200, b"xx" * 10, cut=2))
    file = io.BytesIO(b"before and after")
    with pytest.raises(taruvi.NetworkError):
        call(mode, taruvi_server.url, lambda c: c.storage.from_("b").download("a", to=file))
    assert (file.tell(), file.getvalue()[2:]) == (0, b"fore and after")


class FullDisk(io.RawIOBase):
    """A file that cannot be written to."""

    def writable(self) -> bool:
        return True

    def write(self, _: Any) -> int:
        raise OSError(28, "No space left on device")


class SmallWrites(io.RawIOBase):
    """A file that takes three bytes at once, as files without a buffer may."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: Any) -> int:
        self.content += bytes(data[:3])
        return min(3, len(data))


@pytest.mark.parametrize("mode", MODES)
def test_what_a_file_raises_comes_out(mode: str, taruvi_server: TaruviServer) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        call(mode, taruvi_server.url, lambda c: c.storage.from_("b").download("a", to=FullDisk()))
    assert not isinstance(caught.value, TaruviError)
    file = SmallWrites()
    call(mode, taruvi_server.url, lambda c: c.storage.from_("b").download("a", to=file))
    assert file.content == FILE


@pytest.mark.parametrize("mode", MODES)
def test_an_upload_that_is_repeated_is_whole(mode: str, taruvi_server: TaruviServer) -> None:
    """With a key it may be; a file that cannot be rewound is read once as well."""
    taruvi_server.script.append(Reply(503))
    reader, writer = io.BytesIO(b"head of the file"), io.BufferedReader(io.BytesIO(b"other"))
    reader.seek(5)
    call(
        mode,
        taruvi_server.url,
        lambda c: c.storage.from_("b").upload([("a.txt", reader), ("b.bin", writer)]),
        max_retries=1,
        idempotency=True,
    )
    first, second = [[part["text"] for part in each.body["multipart"]] for each in taruvi_server.received]
    assert first == second
    assert first[-2:] == ["of the file", "other"]
    assert not reader.closed


def test_files_have_all_the_time_that_they_need() -> None:
    settings = read_settings({"api_url": "http://a.test", "app_slug": "a"}, "current", None)
    limits = Limits(settings, {})
    assert limits.bound(Call("GET", "/", is_file=True), None) == {"deadline": None}
    assert limits.bound(Call("GET", "/"), None) == {"deadline": 30 * 4 + 8}
    assert limits.bound(Call("GET", "/", timeout=120), None) == {"timeout": 120, "deadline": 120 * 4 + 8}
    assert Limits(settings, {"deadline": 5}).bound(Call("GET", "/"), None) == {}
    with polvo.call(deadline=2):
        assert limits.bound(Call("GET", "/", is_file=True), None) == {}
        assert limits.together() == 2


def sign_in(client: Any) -> Any:
    return client.auth.signInWithPassword("alice", PASSWORD)


USES: dict[str, Callable[[Any], Any]] = {
    "call": lambda c: c.settings.get(),
    "batch": lambda c: c.secrets.get_secrets([f"K{number}" for number in range(100)]),
    "login": sign_in,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", USES)
def test_a_deadline_of_the_caller_bounds_all_of_it(mode: str, name: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.extend([Reply(hang=20)] * 200)
    started = time.monotonic()
    with polvo.call(deadline=0.2), pytest.raises(taruvi.errors.TimeoutError):
        call(mode, taruvi_server.url, USES[name], None, wire="2026-01", max_retries=3)
    assert time.monotonic() - started < 10
    assert len(taruvi_server.received) <= 10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("token_type", ["jwt", "api_key", "session_token"])
def test_neither_credential_nor_site_goes_to_another_host(
    mode: str, token_type: str, taruvi_server: TaruviServer
) -> None:
    with TaruviServer() as other:
        taruvi_server.script.append(Reply(302, headers={"Location": f"{other.url}/api/settings/metadata/"}))

        def sign(client: Any) -> Any:
            return client.auth.signInWithToken("s3cret-token", token_type)

        call(mode, taruvi_server.url, lambda c: c.settings.get(), sign=sign, site_slug="tenant-a")
        sent = other.received[0].headers
    assert "s3cret-token" not in str(sent)
    assert mode == "sync" or sent["host"] == other.url.partition("//")[2]


@pytest.mark.parametrize("mode", MODES)
def test_a_redirect_at_home_keeps_the_credential(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(302, headers={"Location": "/api/settings/metadata/?again=1"}))
    assert call(mode, taruvi_server.url, lambda c: c.settings.get())["site_name"] == "Example"
    assert [each.headers["authorization"] for each in taruvi_server.received] == ["Bearer access-0"] * 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize("location", ["http://[::1", "//", "http://a b/", "http://127.0.0.1:99999/", "/again/"])
def test_a_redirect_to_nowhere(mode: str, status: int, location: str, taruvi_server: TaruviServer) -> None:
    uses: list[Callable[[Any], Any]] = [lambda c: c.settings.get(), lambda c: c.functions.execute("f")]
    for use in uses:
        taruvi_server.script.clear()
        taruvi_server.script.extend([Reply(status, headers={"Location": location})] * 40)
        with pytest.raises(TaruviError):
            call(mode, taruvi_server.url, use)


ECHOED: dict[str, Callable[[Any], Any]] = {
    "login": lambda c: c.auth.login("alice", PASSWORD),
    "sign in": sign_in,
    "refresh_token": lambda c: c.auth.refresh_token(PASSWORD),
    "verify_token": lambda c: c.auth.verify_token(PASSWORD),
    "create_user": lambda c: c.users.create_user("bob", "b@c.example", PASSWORD, PASSWORD),
    "update_user": lambda c: c.users.update_user("bob", password=PASSWORD),
    "update": lambda c: c.secrets.update("API_KEY", PASSWORD),
    "token": lambda c: c.settings.get(),
    "two different": lambda c: c.users.create_user("bob", "b@c.example", PASSWORD, PASSWORD + "x"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ECHOED)
def test_a_server_that_sends_secrets_back(mode: str, name: str, taruvi_server: TaruviServer) -> None:
    said = {"message": f"no {PASSWORD}", "details": {PASSWORD: [PASSWORD]}, "code": PASSWORD}
    taruvi_server.script.append(Reply(409, said, {"X-Echo": PASSWORD}))
    with pytest.raises(TaruviError) as caught:
        call(mode, taruvi_server.url, ECHOED[name], PASSWORD)
    error = caught.value
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    library = [
        line for frame in shown.stack if "/polvo_adapters/" in frame.filename for line in (frame.locals or {}).items()
    ]
    response = error.response
    texts = f"{error} {error!r} {error.to_dict()} {library} {error.__cause__} {error.__context__}"
    texts += "" if response is None else f"{response.text} {response.headers}"
    assert PASSWORD not in texts


@pytest.mark.parametrize("mode", MODES)
def test_the_token_of_a_login_does_not_come_back(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(200, {"access": "access-0-of-alice"}))
    taruvi_server.script.append(Reply(400, {"message": "odd token access-0-of-alice"}))
    with pytest.raises(taruvi.ValidationError) as caught:
        call(mode, taruvi_server.url, lambda c: c.settings.get(), sign=sign_in)
    assert caught.value.message == "odd token [credential]"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("name", ["call", "login"])
def test_max_retries_counts_for_logins_too(mode: str, name: str, retries: int, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.extend([Reply(503)] * 10)
    with pytest.raises(taruvi.ServiceUnavailableError):
        call(mode, taruvi_server.url, USES[name], None, max_retries=retries)
    assert len(taruvi_server.received) == retries + 1


@pytest.mark.parametrize("mode", MODES)
def test_each_answer_is_the_error_of_its_status(mode: str, taruvi_server: TaruviServer) -> None:
    """However many there were before: a circuit breaker would answer in place of the server."""
    taruvi_server.script.extend([Reply(500)] * 40)

    async def ask(client: Any) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(40):
            with pytest.raises(TaruviError) as caught:
                await client.settings.get()
            found[type(caught.value).__name__] += 1
        return found

    def ask_on_thread(client: Any) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(40):
            with pytest.raises(TaruviError) as caught:
                client.settings.get()
            found[type(caught.value).__name__] += 1
        return found

    assert call(mode, taruvi_server.url, ask_on_thread if mode == "sync" else ask) == {"ServerError": 40}


def make_jwt(seconds: float) -> str:
    """Return a JSON Web Token that ends in so many seconds."""
    claims = {"exp": int(time.time() + seconds), "iat": int(time.time())}
    parts = [
        base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in ({"alg": "none"}, claims)
    ]
    return ".".join([*parts, "c2ln"])


@pytest.mark.parametrize("mode", MODES)
def test_a_token_that_ends_is_refreshed_ahead_once(mode: str, taruvi_server: TaruviServer, leap: Leap) -> None:
    """For 64 threads or tasks, by its refresh token; the server never sees the one that has ended."""
    tokens = {"access_token": make_jwt(600), "refresh_token": "refresh-0"}
    taruvi_server.script.append(Reply(200, {"meta": tokens}))
    client: Any = Client(taruvi_server.url, "a", mode=mode).auth.signInWithPassword("alice", PASSWORD)  # type: ignore[call-overload]

    async def main() -> None:
        async with client:
            await client
            leap()
            await asyncio.gather(*(client.settings.get() for _ in range(64)))

    if mode == "async":
        asyncio.run(main())
    else:
        leap()
        with client, ThreadPoolExecutor(64) as pool:
            list(pool.map(lambda _: client.settings.get(), range(64)))
    paths = Counter(each.path for each in taruvi_server.received)
    assert sorted(paths.values()) == [1, 1, 64]
    assert {each.headers["authorization"] for each in taruvi_server.received if "settings" in each.path} == {
        "Bearer access-1"
    }


@pytest.mark.parametrize("mode", MODES)
def test_a_refresh_token_that_is_refused_leads_to_a_login(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(200, {"access": "access-0", "refresh": "refresh-0"}))
    taruvi_server.script.extend([Reply(401, {"code": "token_not_valid"})] * 2)  # the call, then the refresh
    assert call(mode, taruvi_server.url, lambda c: c.settings.get(), sign=sign_in)["site_name"] == "Example"
    kinds = [each.path.rstrip("/").rpartition("/")[2] for each in taruvi_server.received]
    assert kinds == ["login", "metadata", "refresh", "login", "metadata"]


def test_threads_with_users_of_their_own(taruvi_server: TaruviServer) -> None:
    """32 of them derive clients from one: neither answers nor credentials are mixed."""
    client = Client(taruvi_server.url, "my-app")
    ready = threading.Barrier(32)

    def work(number: int) -> list[Any]:
        ready.wait()
        with client.auth.signInWithToken(f"token-{number}") as signed:
            return [signed.functions.execute(f"f{number}", {"n": number})["data"] for _ in range(5)]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(work, range(32)))
    client.close()
    assert answers == [[{"n": number}] * 5 for number in range(32)]
    for each in taruvi_server.received:
        number = each.body["params"]["n"]
        assert each.headers["authorization"] == f"Bearer token-{number}"
        assert f"/f{number}/" in each.path


def test_a_task_may_be_cancelled_anywhere(taruvi_server: TaruviServer) -> None:
    """After any number of steps of the event loop; each gives its place back, and the client goes on."""
    uses: list[Callable[[Any], Any]] = [
        lambda c: c.settings.get(),
        lambda c: c.secrets.get_secrets(["API_KEY", "STRIPE_KEY"]),
        lambda c: c.storage.from_("b").download("a", to=io.BytesIO()),
    ]

    async def main() -> None:
        async with Client(taruvi_server.url, "a", mode="async", wire="2026-01").auth.signInWithPassword(
            "a", "b"
        ) as client:
            for use in uses:
                for steps in [*range(0, 40, 2), *range(40, 200, 20)]:
                    task = asyncio.ensure_future(use(client))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    assert task.cancelled() or task.exception() is None
            await asyncio.wait_for(asyncio.gather(*(client.settings.get() for _ in range(20))), 5)

    asyncio.run(main())


def test_several_secrets_come_on_trio_as_well(taruvi_server: TaruviServer) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> Any:
        async with Client(taruvi_server.url, "a", mode="async", wire="2026-01").auth.signInWithToken("token") as client:
            return await client.secrets.get_secrets(["API_KEY", "STRIPE_KEY"])

    assert list(trio.run(main)) == ["API_KEY", "STRIPE_KEY"]


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_answers_by_pages_is_asked_for_the_rest(mode: str, taruvi_server: TaruviServer) -> None:
    """A secret that only was on another page is not missing."""
    first = {"key": "API_KEY", "value": "v", "secret_type": "api_key"}
    taruvi_server.script.append(Reply(200, {"data": [first], "total": 2}))
    found = call(mode, taruvi_server.url, lambda c: c.secrets.get_secrets(["API_KEY", "STRIPE_KEY"]))
    assert list(found) == ["API_KEY", "STRIPE_KEY"]

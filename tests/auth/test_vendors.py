"""Every vendor of the table against a stand-in that is as strict as its documentation: the whole life of a login."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import requests

from polvo_adapters import tenant
from polvo_adapters.auth import OAuth2
from polvo_adapters.auth.options import VendorSettings
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, TokenResponse
from polvo_adapters.auth.vendor_profile import Vendor
from polvo_adapters.auth.vendors import VENDORS, find_vendor
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.vendors import docs_table
from tests.support.vendors.dialect import Grant, Said
from tests.support.vendors.dialects import DIALECTS
from tests.support.vendors.logins import Login, list_logins, make_certificate, redirected
from tests.support.vendors.standin import CLIENT, FIRST_REFRESH, SECRET, Heard, StandIn

LOGINS = list_logins()
YEAR = 365 * 86400.0


class Life:
    """A login at a vendor, and a session that calls its API.

    Args:
        login: The login.
        standin: The vendor.
        vendor: What is known of the vendor; by default what the table says.
        changes: Keywords in the place of those of the login.
    """

    def __init__(self, login: Login, standin: StandIn, vendor: Vendor | None = None, **changes: Any) -> None:
        self.login, self.standin = login, standin
        self.clock = VirtualClock()
        self.errors: list[TokenRefreshError] = []
        self.session = requests.Session()
        self.session.mount("https://", standin.detour())
        keywords = {"session": self.session, "clock": self.clock, "reauthenticate": self.errors.append, **changes}
        given = {**login.keywords, **keywords}
        if vendor is None:
            self.auth = OAuth2.for_vendor(login.vendor.vendor, **given)
        else:
            self.auth = OAuth2(**vendor.keywords_for(given.pop("flow", None), given))

    def begin(self) -> None:
        """Do what a user does, where the flow begins with a user."""
        if self.auth.flow == "authorization_code":
            request = self.auth.authorization_request()
            self.auth.complete(redirected(request.url), request)

    def call(self) -> Any:
        """Return what the API answers: its status, and the body."""
        response = self.session.get(self.login.vendor.api_url, auth=self.auth)
        return response.status_code, response.json() if response.text else ""

    @property
    def tokens(self) -> int:
        """How many requests the token endpoint has had."""
        return self.standin.counts["token"]

    @property
    def can_revoke(self) -> bool:
        """Whether the vendor documents how a token of this login is revoked."""
        revocation = self.login.vendor.revocation
        kinds = ("access",) if self.auth.flow in ("client_credentials", "jwt_bearer") else ("access", "refresh")
        return revocation is not None and any(kind in revocation.kinds for kind in kinds)

    @property
    def can_refresh(self) -> bool:
        """Whether the login lasts without a user."""
        return self.login.vendor.vendor != "mailchimp"


GOOD = (200, {"ok": True, "status": 0})


class Oddities(logging.Handler):
    """What the log says of fields that mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "means nothing" in text:
            self.found.append(text)


@contextmanager
def live(login: Login, vendor: Vendor | None = None) -> Iterator[Life]:
    """Yield a life, and check afterwards that the stand-in has nothing to complain of."""
    with StandIn(login.vendor, make_certificate()[2]) as standin:
        oddities = Oddities()
        log = logging.getLogger("polvo_adapters.tokens")
        log.addHandler(oddities)
        life = Life(login, standin, vendor)
        try:
            yield life
        finally:
            life.session.close()
            log.removeHandler(oddities)
        assert (standin.complaints, standin.spent_again, oddities.found) == ([], [], [])


@pytest.fixture(params=LOGINS)
def life(request: pytest.FixtureRequest) -> Iterator[Life]:
    with live(LOGINS[request.param]) as life:
        yield life


def test_first_login(life: Life) -> None:
    life.begin()
    assert [life.call() for _ in range(3)] == [GOOD] * 3
    assert (life.tokens, life.standin.counts["refused"]) == (1, 0)


def test_refresh_and_rotation(life: Life) -> None:
    """A token is refreshed before its end, and each time with the refresh token that the vendor accepts then."""
    life.begin()
    assert life.call() == GOOD
    lifetime = life.login.vendor.lifetime
    for _ in range(3 if lifetime else 0):
        life.standin.expire()
        life.clock.advance(float(lifetime or 0) + 1)
        assert life.call() == GOOD
    assert (life.tokens, life.standin.counts["refused api"]) == (4 if lifetime else 1, 0)
    if lifetime is None:  # without an end, however long it is in use
        life.clock.advance(YEAR)
        assert (life.call(), life.tokens) == (GOOD, 1)


def test_refusal(life: Life) -> None:
    """A token that the API does not accept any more, in the words of the vendor, is replaced once."""
    life.begin()
    assert life.call() == GOOD
    if life.can_refresh:
        for refuse in (life.standin.expire, life.standin.revoke_access):
            refuse()
            assert [life.call(), life.call()] == [GOOD] * 2
            life.clock.advance(60)
        assert (life.tokens, life.standin.counts["refused api"]) == (3, 2)


def test_what_the_token_may_not_do(life: Life) -> None:
    """An answer that is not about the token comes out, and costs at most one renewal."""
    life.begin()
    life.standin.forbid()
    assert [life.call() for _ in range(4)] == [tuple(life.login.vendor.forbidden)] * 4
    assert life.tokens <= 2


def test_the_login_has_ended(life: Life) -> None:
    """A login that the vendor has ended, in whatever words, is not tried again, and the user is asked once."""
    life.begin()
    assert life.call() == GOOD
    life.standin.end_login()
    with pytest.raises(TokenRefreshError) as caught:
        life.call()
    assert caught.value.final
    # A client that is not accepted is a matter of settings, which no new login changes.
    asked = [] if caught.value.reason == "invalid_client" else [caught.value.reason]
    assert [error.reason for error in life.errors] == asked
    assert life.tokens == (2 if life.can_refresh else 1)


def test_revocation(life: Life) -> None:
    life.begin()
    assert life.call() == GOOD
    if not life.can_revoke:
        with pytest.raises(ConfigurationError, match="revocation_url"):
            life.auth.revoke()
        return
    life.auth.revoke()
    kinds = life.login.vendor.revocation.kinds
    assert {
        token for token in life.standin.valid_tokens if not token.startswith("refresh") or "refresh" in kinds
    } == set()


def test_an_own_address(life: Life) -> None:
    """The endpoint at another URL, that of a proxy, a sandbox or a test, is asked as the vendor's own is."""
    own = Life(life.login, life.standin, token_url=life.standin.proxy_url)
    own.begin()
    assert own.call() == GOOD
    if own.can_refresh:
        life.standin.revoke_access()
        assert own.call() == GOOD
    assert life.standin.heard[0].url == life.standin.proxy_url


# ------------------------------------------------------------------------------------------ single facts

PASSING = {
    "slack refresh": Said(200, {"ok": False, "error": "ratelimited"}),
    "zoho refresh": Said(400, {"error": "access_denied", "error_description": "too many requests continuously"}),
    "withings refresh": Said(200, {"status": 601, "body": {"wait_seconds": 1}, "error": "Too Many Requests"}),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_refusal(name: str) -> None:
    """A vendor that wants to be asked later, in words that mean the end elsewhere, has not ended the login."""
    with live(LOGINS[name]) as life:
        life.standin.put_off(PASSING[name])
        assert (life.call(), life.tokens, life.errors) == (GOOD, 2, [])


BESIDE = {
    "salesforce refresh": ("api refresh_token", {"instance_url": "https://acme.my.salesforce.com"}),
    "zoho refresh": (None, {"api_domain": "https://www.zohoapis.eu"}),
    "zoom server": ("user:read", {"api_url": "https://api.zoom.us"}),
    "withings refresh": ("user.metrics", {"userid": "363"}),
    "slack refresh": ("chat:write", {"token_type": "bot", "team": {"id": "T1", "name": "Example"}}),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_comes_beside_the_token(name: str) -> None:
    with live(LOGINS[name]) as life:
        token = life.auth.token()
        scope, extra = BESIDE[name]
        assert (token.scope, {each: token.extra.get(each) for each in extra}) == (scope, extra)


LOGIN_PAGES = {
    "slack": "https://slack.com/oauth/v2/authorize",
    "github": "https://github.com/login/oauth/authorize",
    "google": "https://accounts.google.com/o/oauth2/v2/auth",
    "azure": "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/authorize",
    "salesforce": "https://login.salesforce.com/services/oauth2/authorize",
    "hubspot": "https://app.hubspot.com/oauth/authorize",
    "zoom": "https://zoom.us/oauth/authorize",
    "zoho": "https://accounts.zoho.eu/oauth/v2/auth",
    "shopify": "https://acme.myshopify.com/admin/oauth/authorize",
    "mailchimp": "https://login.mailchimp.com/oauth2/authorize",
    "xero": "https://login.xero.com/identity/connect/authorize",
    "quickbooks": "https://appcenter.intuit.com/connect/oauth2",
    "withings": "https://account.withings.com/oauth2_user/authorize2",
    "box": "https://account.box.com/api/oauth2/authorize",
    "docusign": "https://account.docusign.com/oauth/auth",
}


@pytest.mark.parametrize("vendor", LOGIN_PAGES)
def test_the_login_page(vendor: str) -> None:
    login = LOGINS[f"{vendor} code"]
    keywords = {**login.keywords, "scope": ["one", "two"]}
    url = OAuth2.for_vendor(vendor, **keywords).authorization_request().url
    page, _, query = url.partition("?")
    sent = parse_qs(query)
    offline = ["offline"] if vendor in ("google", "zoho") else None  # otherwise there is no refresh token
    assert (page, sent["client_id"], sent.get("access_type")) == (LOGIN_PAGES[vendor], [CLIENT], offline)
    separator = "," if vendor in ("slack", "zoho", "shopify", "withings") else " "
    assert sent["scope"] == [separator.join(("one", "two"))]


@pytest.mark.parametrize(("vendor", "more"), [("github", {}), ("azure", {"tenant_id": "contoso.example"})])
def test_a_login_on_another_device(vendor: str, more: dict[str, Any]) -> None:
    """A public client shows a code, asks until the user has confirmed it, and has a token."""
    shown: list[str] = []
    with StandIn(DIALECTS[vendor]) as standin, requests.Session() as session:
        session.mount("https://", standin.detour())
        keywords = {"client_id": CLIENT, "session": session, "clock": VirtualClock(), **more}
        oauth = OAuth2.for_vendor(vendor, flow="device_code", **keywords)
        oauth.login(lambda login: shown.append(login.user_code))
        assert session.get(DIALECTS[vendor].api_url, auth=oauth).json() == GOOD[1]
        assert (shown, standin.counts["token"], standin.complaints) == (["WDJB-MJHT"], 2, [])


SETTINGS_OF_AN_OWNER = {
    "github_app": ({"private_key": "k", "installation_id": 1}, {"installation_id": 2}),
    "zoom": ({"client_secret": "s", "account_id": "a"}, {"account_id": "b"}),
    "box": ({"client_secret": "s", "private_key": "k", "enterprise_id": "1"}, {"enterprise_id": None, "user_id": "1"}),
    "shopify": ({"client_secret": "s", "shop": "a"}, {"shop": "b"}),
    "azure": ({"client_secret": "s", "scope": "x", "tenant_id": "a"}, {"tenant_id": "b"}),
    "docusign": ({"private_key": "k", "subject": "u"}, {"environment": "demo"}),
}


@pytest.mark.parametrize("vendor", SETTINGS_OF_AN_OWNER)
def test_each_account_has_tokens_of_its_own(vendor: str) -> None:
    """What differs in a setting of the vendor has no token in common in a shared cache."""
    keywords, other = SETTINGS_OF_AN_OWNER[vendor]
    one, two = (OAuth2.for_vendor(vendor, client_id=CLIENT, **{**keywords, **each}) for each in ({}, other))
    assert one._identify("") != two._identify("")
    assert one._identify("") == OAuth2.for_vendor(vendor, client_id=CLIENT, **keywords)._identify("")


# ------------------------------------------------------------------------------------------ what a caller says


@pytest.mark.parametrize(
    "name", ["slack", "Slack", "azure-ad", "Entra ID", "amazon_sp_api", "SP-API", "QuickBooks Online"]
)
def test_names(name: str) -> None:
    assert find_vendor(name) in VENDORS.values()


def test_an_unknown_vendor() -> None:
    with pytest.raises(ValueError, match=r"for_vendor\('acme'\).*amazon_sp_api, azure, box.*TokenEndpoint"):
        OAuth2.for_vendor("acme", client_id="app")


MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "client_id": ("slack", {"client_id": None, "client_secret": "s", "refresh_token": "r"}, "missing client_id"),
    "no secret": ("slack", {"refresh_token": "r"}, "missing client_secret; see https://docs.slack.dev/"),
    "no account": ("zoom", {"client_secret": "s"}, r"missing account_id \(the account, from the page of the app\)"),
    "no shop": ("shopify", {"client_secret": "s"}, r"missing shop \(the shop, as in SHOP.myshopify.com\)"),
    "no region": ("zoho", {"client_secret": "s", "refresh_token": "r"}, r"missing region \(the data center"),
    "no installation": ("github_app", {"private_key": "k"}, "missing installation_id"),
    "no directory": ("azure", {"client_secret": "s", "scope": "x"}, "missing tenant_id"),
    "no certificate": ("azure", {"scope": "x", "tenant_id": "t"}, "missing client_secret or certificate"),
    "no account of two": ("box", {"client_secret": "s"}, "missing enterprise_id .* or user_id"),
    "no domain": ("salesforce", {"client_secret": "s"}, "missing domain"),
    "region": (
        "zoho",
        {"client_secret": "s", "refresh_token": "r", "region": "mars"},
        "region='mars': expected one of us, eu",
    ),
    "shop": ("shopify", {"client_secret": "s", "shop": "evil.example/"}, "shop='evil.example/': expected the shop"),
    "installation": (
        "github_app",
        {"private_key": "k", "installation_id": "../.."},
        "expected number of the installation",
    ),
    "other vendor": ("slack", {"client_secret": "s", "refresh_token": "r", "shop": "x"}, "slack has no setting shop"),
    "of no use": (
        "zoom",
        {"client_secret": "s", "refresh_token": "r", "account_id": "a"},
        "account_id is of no use with flow",
    ),
    "flow": (
        "mailchimp",
        {"client_secret": "s", "flow": "password"},
        "flow='password': expected one of authorization_code",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    vendor, keywords, message = MISTAKES[mistake]
    with pytest.raises(ConfigurationError, match=message):
        OAuth2.for_vendor(vendor, **{"client_id": "app", **keywords})


def test_a_public_client() -> None:
    """A user who has logged in by the device flow of GitHub refreshes without a secret."""
    public = replace(
        DIALECTS["github"],
        grants=(Grant("refresh_token", {"refresh_token": None, "client_id": CLIENT}, client="none"),),
    )
    with StandIn(public) as standin, requests.Session() as session:
        session.mount("https://", standin.detour())
        oauth = OAuth2.for_vendor("github", client_id=CLIENT, refresh_token=FIRST_REFRESH, session=session)
        assert session.get(public.api_url, auth=oauth).json() == GOOD[1]
        assert standin.complaints == []


def test_what_the_caller_gives_takes_precedence() -> None:
    with StandIn(replace(DIALECTS["xero"], grants=(Grant("client_credentials", client="post"),))) as standin:
        with requests.Session() as session:
            session.mount("https://", standin.detour())
            oauth = OAuth2.for_vendor(
                "xero", client_id=CLIENT, client_secret=SECRET, client_authentication="post", session=session
            )
            assert session.get(DIALECTS["xero"].api_url, auth=oauth).json() == GOOD[1]
        assert standin.complaints == []
    described = TokenEndpoint("https://id.example.com/token", client_authentication="none")
    oauth = OAuth2.for_vendor("zoom", client_id=CLIENT, client_secret=SECRET, account_id="a", token_url=described)
    assert "id.example.com" in repr(oauth)


def test_an_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="colour"):
        OAuth2.for_vendor("slack", client_id="app", client_secret="s", refresh_token="r", colour="red")  # type: ignore[call-arg]


def test_a_shop_for_each_tenant() -> None:
    with tenant("acme"), StandIn(DIALECTS["shopify"]) as standin, requests.Session() as session:
        session.mount("https://", standin.detour())
        oauth = OAuth2.for_vendor("shopify", client_id=CLIENT, client_secret=SECRET, shop="{tenant}", session=session)
        assert session.get(DIALECTS["shopify"].api_url, auth=oauth).json() == GOOD[1]
        assert standin.complaints == []


def test_a_copy() -> None:
    """A pickle keeps what the table says, and no secret."""
    login = LOGINS["zoho refresh"]
    keywords = {**login.keywords, "client_secret": get_secret, "refresh_token": get_refresh_token}
    data = pickle.dumps(OAuth2.for_vendor("zoho", **keywords))
    assert SECRET.encode() not in data
    with StandIn(login.vendor) as standin, requests.Session() as session:
        session.mount("https://", standin.detour())
        copy = pickle.loads(data)
        copy._server_options["session"] = session
        assert session.get(login.vendor.api_url, auth=copy).json() == GOOD[1]
        assert standin.complaints == []


def get_secret() -> str:
    return SECRET


def get_refresh_token() -> str:
    return FIRST_REFRESH


# ------------------------------------------------------------------------------------------ httpx

IN_HTTPX = ["slack refresh", "shopify refresh", "amazon refresh", "zoho refresh", "withings refresh", "github_app"]


def ask(standin: StandIn, request: httpx.Request) -> httpx.Response:
    url, _, query = str(request.url).partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    said = standin.answer(Heard(request.method, url, query, headers, request.content.decode()))
    return httpx.Response(said.status, json=said.body)


@pytest.mark.parametrize("name", IN_HTTPX)
def test_httpx(name: str) -> None:
    with live(LOGINS[name]) as life:
        transport = httpx.MockTransport(lambda request: ask(life.standin, request))
        with httpx.Client(transport=transport, auth=life.auth.httpx()) as client:
            for refuse in (life.standin.expire, life.standin.revoke_access):
                assert client.get(life.login.vendor.api_url).json() == GOOD[1]
                refuse()
                life.clock.advance(60)
            assert client.get(life.login.vendor.api_url).json() == GOOD[1]
        assert (life.tokens, life.standin.counts["refused api"]) == (3, 2)


@pytest.mark.parametrize("name", IN_HTTPX)
def test_async_httpx(name: str) -> None:
    async def call(life: Life) -> list[Any]:
        transport = httpx.MockTransport(lambda request: ask(life.standin, request))
        async with httpx.AsyncClient(transport=transport, auth=life.auth.httpx()) as client:
            first = await client.get(life.login.vendor.api_url)
            life.standin.revoke_access()
            return [first.json(), (await client.get(life.login.vendor.api_url)).json()]

    with live(LOGINS[name]) as life:
        assert asyncio.run(call(life)) == [GOOD[1]] * 2
        assert (life.tokens, life.standin.counts["refused api"]) == (2, 1)


# ------------------------------------------------------------------------------------------ the documentation


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "vendors.md").read_text()
    assert docs_table.render_table() in page, "run `python -m tests.support.vendors.docs_table`"
    assert docs_table.render_settings() in page, "run `python -m tests.support.vendors.docs_table`"


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_sources(vendor: Vendor) -> None:
    """Each vendor has the page of its token endpoint, and pages for what else the table says of it."""
    assert "token" in vendor.sources
    assert ("refresh" in vendor.sources) == ("refresh_token" in vendor.logins)
    assert "refused" not in vendor.options or "refusal" in vendor.sources
    assert ("revocation_url" in vendor.options) == ("revocation" in vendor.sources)
    assert all(urlsplit(page).scheme == "https" for page in vendor.sources.values())
    settings = {setting.name for setting in vendor.settings}
    assert settings <= VendorSettings.__annotations__.keys()


# ------------------------------------------------------------------------------------------ every fact is needed

CHECKS: tuple[Callable[[Life], None], ...] = (
    test_first_login,
    test_what_the_token_may_not_do,
    test_refusal,
    test_the_login_has_ended,
    test_revocation,
    test_refresh_and_rotation,
    test_an_own_address,
)

NOT_IN_A_LIFE = {
    "authorization_url": "the browser opens it; see test_the_login_page",
    "device_authorization_url": "see test_a_login_on_another_device",
    "scope_separator": "see test_scopes_are_written_as_the_vendor_writes_them",
    "response.temporary": "see test_a_passing_refusal",
    "response.error": "the same",
    "response.error_description": "text for a person",
    "response.scope": "for the caller; see test_what_comes_beside_the_token",
    "revocation kinds": "a refusal of the access token after that of the refresh token counts for nothing",
    "slack: client_authentication": "by either",
}
"""Facts without which a stand-in still answers, and why."""


def without(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield descriptions that each lack one fact: a field that differs from its default, or an entry of one."""
    for each in fields(value):
        given = getattr(value, each.name)
        if each.name in ("url", "refresh") or not each.init:
            continue
        if isinstance(given, TokenResponse):
            yield from ((label, replace(value, response=less)) for label, less in without(given, "response."))
        elif isinstance(given, dict):
            for key in given:
                less = {other: entry for other, entry in given.items() if other != key}
                yield f"{name}{each.name} {key}", replace(value, **{each.name: less})
        elif given != each.default:
            other = {"basic": "post", "post": "basic"}.get(str(given), each.default)
            yield f"{name}{each.name}", replace(value, **{each.name: other})


def list_variants() -> Iterator[tuple[str, Vendor]]:
    """Yield the vendors, each without one fact."""
    for vendor in VENDORS.values():
        for label, endpoint in without(vendor.endpoint, ""):
            yield f"{vendor.name}: {label}", replace(vendor, endpoint=endpoint)
        for name, value in vendor.options.items():
            less = {other: entry for other, entry in vendor.options.items() if other != name}
            if name == "refused":
                less[name] = 401  # without any, the URL of the token endpoint may tell
            yield f"{vendor.name}: {name}", replace(vendor, options=less)
            for label, changed in without(value, "revocation ") if isinstance(value, TokenEndpoint) else ():
                yield f"{vendor.name}: {label}", replace(vendor, options={**less, name: changed})
        for flow, login in vendor.logins.items():
            for kind in ("options", "endpoint"):
                given = getattr(login, kind)
                for name in given:
                    less = {other: entry for other, entry in given.items() if other != name}
                    changed = {**vendor.logins, flow: replace(login, **{kind: less})}
                    yield f"{vendor.name}: {flow} {name}", replace(vendor, logins=changed)


def is_in_a_life(label: str) -> bool:
    return not any(label.endswith(name) for name in NOT_IN_A_LIFE)


VARIANTS = dict(list_variants())


@pytest.mark.parametrize("label", [label for label in VARIANTS if is_in_a_life(label)])
def test_every_fact_is_needed(label: str) -> None:
    """Without any one fact of the table, some step of some login goes wrong: no fact is there for show."""
    vendor = VARIANTS[label]
    logins = [login for login in LOGINS.values() if login.vendor.vendor == vendor.name]
    assert any(goes_wrong(login, vendor, check) for login in logins for check in CHECKS)


def goes_wrong(login: Login, vendor: Vendor, check: Callable[[Life], None]) -> bool:
    try:
        with live(login, vendor) as life:
            check(life)
    except (AssertionError, ValueError, requests.RequestException, pytest.fail.Exception):
        return True
    return False

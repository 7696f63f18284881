"""How a program logs in at each vendor: keywords of `OAuth2.for_vendor`, as a user would write them."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from tests.support.oauth.servers import make_keys
from tests.support.vendors.dialect import Dialect
from tests.support.vendors.dialects import DIALECTS, ENTERPRISE, KEY_ID, USER
from tests.support.vendors.standin import CLIENT, CODE, FIRST_REFRESH, SECRET

REDIRECT_URI = "https://app.example.com/callback"


class Login(NamedTuple):
    """A login.

    Attributes:
        dialect: Name of the dialect in `DIALECTS`.
        keywords: Keywords of `OAuth2.for_vendor`.
    """

    dialect: str
    keywords: dict[str, Any]

    @property
    def vendor(self) -> Dialect:
        """The vendor."""
        return DIALECTS[self.dialect]


@functools.cache
def make_certificate() -> tuple[Any, str, Any]:
    """Return a private key, which takes a tenth of a second to read; its certificate in PEM; and its public key."""
    key: Any = load_pem_private_key(make_keys()[0].encode(), None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app.example.com")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + dt.timedelta(days=3650))
    certificate = builder.sign(key, hashes.SHA256())
    return key, certificate.public_bytes(Encoding.PEM).decode(), key.public_key()


def list_logins() -> dict[str, Login]:
    """Return the logins by name: that of the dialect, and the flow."""
    key, certificate, _ = make_certificate()
    refresh: dict[str, Any] = {"client_secret": SECRET, "refresh_token": FIRST_REFRESH}
    code: dict[str, Any] = {
        "client_secret": SECRET,
        "redirect_uri": REDIRECT_URI,
        "flow": "authorization_code",
        "scope": "one two",
    }
    signed: dict[str, Any] = {"private_key": key, "key_id": KEY_ID}
    scope = {"scope": "https://graph.microsoft.com/.default"}
    azure = {"tenant_id": "contoso.example", **scope}
    found = {
        "slack refresh": Login("slack", refresh),
        "slack code": Login("slack", code),
        "github refresh": Login("github", refresh),
        "github code": Login("github", code),
        "github_app": Login("github_app", {"private_key": key, "installation_id": 4711}),
        "github_app narrowed": Login(
            "github_app",
            {"private_key": key, "installation_id": "4711", "parameters": {"permissions": {"contents": "read"}}},
        ),
        "google service account": Login("google", {**signed, "scope": "https://www.googleapis.com/auth/drive"}),
        "google refresh": Login("google", refresh),
        "google code": Login("google", code),
        "azure secret": Login("azure", {**azure, "client_secret": SECRET}),
        "azure refresh": Login("azure", {**azure, **refresh}),
        "azure code": Login("azure", {**code, **azure}),
        "azure certificate": Login("azure certificate", {**azure, "private_key": key, "certificate": certificate}),
        "salesforce refresh": Login("salesforce", refresh),
        "salesforce code": Login("salesforce", code),
        "salesforce key": Login("salesforce", {"private_key": key, "subject": USER}),
        "salesforce client": Login("salesforce client", {"client_secret": SECRET, "domain": "acme.my.salesforce.com"}),
        "hubspot refresh": Login("hubspot", refresh),
        "hubspot code": Login("hubspot", code),
        "zoom server": Login("zoom", {"client_secret": SECRET, "account_id": "acc-1"}),
        "zoom refresh": Login("zoom", refresh),
        "zoom code": Login("zoom", code),
        "zoho refresh": Login("zoho", {**refresh, "region": "eu"}),
        "zoho code": Login("zoho", {**code, "region": "eu"}),
        "shopify client": Login("shopify", {"client_secret": SECRET, "shop": "acme"}),
        "shopify refresh": Login("shopify", {**refresh, "shop": "acme.myshopify.com", "scope": "read_orders"}),
        "shopify code": Login("shopify", {**code, "shop": "acme"}),
        "mailchimp code": Login("mailchimp", code),
        "xero client": Login("xero", {"client_secret": SECRET}),
        "xero refresh": Login("xero", refresh),
        "xero code": Login("xero", code),
        "quickbooks refresh": Login("quickbooks", refresh),
        "quickbooks code": Login("quickbooks", code),
        "amazon refresh": Login("amazon_sp_api", refresh),
        "amazon grantless": Login(
            "amazon_sp_api", {"client_secret": SECRET, "scope": "sellingpartnerapi::notifications"}
        ),
        "withings refresh": Login("withings", refresh),
        "withings code": Login("withings", code),
        "box refresh": Login("box", refresh),
        "box code": Login("box", code),
        "box client": Login("box", {"client_secret": SECRET, "enterprise_id": ENTERPRISE}),
        "box key": Login("box", {"client_secret": SECRET, **signed, "enterprise_id": ENTERPRISE}),
        "docusign key": Login("docusign", {"private_key": key, "subject": USER}),
        "docusign refresh": Login("docusign", refresh),
        "docusign code": Login("docusign", code),
    }
    return {name: Login(login.dialect, {"client_id": CLIENT, **login.keywords}) for name, login in found.items()}


def redirected(url: str) -> str:
    """Return where a vendor sends the browser back to after a login."""
    from urllib.parse import parse_qs, urlsplit

    (state,) = parse_qs(urlsplit(url).query)["state"]
    return f"{REDIRECT_URI}?code={CODE}&state={state}"

"""Authorization servers in processes of their own: `OIDCProvider` runs the certified npm package oidc-provider.

The server is real, so what it refuses (a refresh token used twice, a proof for another URL, a token bound to another
certificate) is refused as in production. Besides the protocol it has a few control endpoints, which are methods here.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.node_packages import install_packages

if TYPE_CHECKING:
    from typing_extensions import Self

HERE = Path(__file__).parent / "oidc_provider"
REDIRECT_URI = "http://127.0.0.1:9/cb"
"""Registered for every client of the authorization code flow; no server listens there."""


class OIDCProvider:
    """A certified authorization server with a resource that it protects; a context manager.

    Clients (the secret of NAME is NAME-secret): `cc` and `cc-post` (client_credentials, HTTP Basic and form), `cc-jwt`
    (private_key_jwt, signed with `rsa_key` or `ec_key`), `cc:odd/1` (secret `odd_secret`; both need encoding), `dpop`
    (client_credentials, only DPoP), `web` (code, confidential), `pub` (code and device, public), `exchange` (token
    exchange), `assertion` (JWT bearer assertions signed with one of the keys; also without any client), and with TLS
    `mtls` (client_credentials and code, by `client_certificate`, bound to it). Every code flow needs PKCE.

    Attributes:
        issuer: Where it is; so `token_url`, `authorization_url`, `device_url`, `revocation_url`, `introspection_url`,
            `discovery_url` and `api_url` (the protected resource; any path below does as well).
        verify: What to give `requests` to trust it: True, or with TLS the path of its authority.
        client_certificate: With TLS the path of a PEM file with key and certificate of `mtls`; `other_certificate` is
            one of the same authority for another name.
        rsa_key: PEM of the private key whose public half the server knows as `rsa`; so `ec_key` as `ec`.

    Args:
        tls: Whether to serve HTTPS and ask for client certificates.
        ttl: Life of an access token, whole seconds.
        rotate: Whether refresh tokens rotate; then the use of an old one revokes the whole grant.
        nonce: Whether DPoP proofs need a nonce.
    """

    odd_secret = "a:b c%2B+/=&?~"

    def __init__(self, *, tls: bool = False, ttl: int = 60, rotate: bool = True, nonce: bool = False) -> None:
        self.tls = tls
        self.issuer = ""
        self.verify: bool | str = True
        self.client_certificate = self.other_certificate = ""
        self.rsa_key, self.ec_key, jwks = make_keys()
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in ("CERTIFICATES", "NODE_OPTIONS")},
            "AT_TTL": str(ttl),
            "ROTATE": str(int(rotate)),
            "NONCE": str(int(nonce)),
            "JWKS": json.dumps(jwks),
            "NODE_NO_WARNINGS": "1",
        }

    def __enter__(self) -> Self:
        install_packages(HERE)
        self._folder = tempfile.TemporaryDirectory(prefix="oidc-")
        if self.tls:
            self._make_certificates(Path(self._folder.name))
        self._log = Path(self._folder.name, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", str(HERE / "provider.mjs")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
            )
        self._control = requests.Session()
        self._control.trust_env = False
        # It prints some notices before; and the pipe ends when it dies.
        for line in self._process.stdout:
            word, _, self.issuer = line.strip().partition(" ")
            if word == "READY":
                break
        else:
            output = self._log.read_text(encoding="utf-8")
            self.__exit__(None, None, None)
            raise RuntimeError(f"oidc-provider did not start: {output}")
        self._control.verify = self.verify
        for name, path in PATHS.items():
            setattr(self, name, self.issuer + path)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._control.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()
        if kind is not None:
            print(self._log.read_text(encoding="utf-8"))  # pytest shows it with the failure
        self._folder.cleanup()

    def counts(self) -> dict[str, Any]:
        """Return how many requests came: `token`, `by_grant`, `refused` (of those), `api`, `api_401`."""
        return self._tell("count")

    def revoke(self, token: str | None = None, *, refresh: bool = False) -> None:
        """Make an access or refresh token invalid, or without one all access tokens, with `refresh` the others too."""
        self._tell("revoke", refresh=refresh, **({} if token is None else {"token": token}))

    def delay(self, seconds: float) -> None:
        """Hold back each answer of the token endpoint that is asked for from now on, after the work is done."""
        self._tell("delay", seconds=seconds)

    def release(self) -> None:
        """Send the answers that are held back, and delay those that are asked for from now on no longer."""
        self._tell("delay", seconds=0.0)
        self._tell("release")

    def fail(self, status: int, times: int = 1, **more: Any) -> None:
        """Have the next requests to the token endpoint answered with an error.

        Args:
            status: The HTTP status.
            times: For how many requests.
            **more: `headers`, `body` (str, or dict for JSON), and `processed=True` to do what was asked all the same.
        """
        self._tell("fail", status=status, times=times, **more)

    def set(self, **settings: Any) -> None:
        """Change `ttl` (seconds, whole), `rotate` or `nonce` for what comes."""
        self._tell("set", **settings)

    def refresh_nonce(self) -> None:
        """Have the resource accept another DPoP nonce only."""
        self._tell("refresh_nonce")

    def reset(self) -> None:
        """Go back to the settings of the beginning, and to counts of zero; tokens stay valid."""
        self._tell("reset")

    def approve(self, authorization_url: str, **keywords: Any) -> str:
        """Log in and consent; see the function."""
        return approve(authorization_url, verify=self.verify, **keywords)

    def approve_device(self, verification_uri_complete: str, **keywords: Any) -> None:
        """Log in and let a device in; see the function."""
        approve_device(verification_uri_complete, verify=self.verify, **keywords)

    def _tell(self, what: str, **values: Any) -> Any:
        response = self._control.post(f"{self.issuer}/__{what}", json=values, timeout=10)
        response.raise_for_status()
        return response.json()

    def _make_certificates(self, folder: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        for file, name in [("server", "127.0.0.1"), ("client", "client.test"), ("other", "other.test")]:
            authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(folder / f"{file}.pem")
        self._environment["CERTIFICATES"] = str(folder)
        self.verify = str(folder / "ca.pem")
        self.client_certificate, self.other_certificate = str(folder / "client.pem"), str(folder / "other.pem")


PATHS = {
    "token_url": "/token",
    "authorization_url": "/auth",
    "device_url": "/device/auth",
    "revocation_url": "/token/revocation",
    "introspection_url": "/token/introspection",
    "discovery_url": "/.well-known/openid-configuration",
    "api_url": "/api",
}


def approve(authorization_url: str, *, login: str = "alice", deny: bool = False, verify: bool | str = True) -> str:
    """Do what a user does in a browser: log in and consent, or with `deny` cancel.

    Args:
        authorization_url: Where the client sends the user.
        login: Who the user is.
        deny: Whether the user cancels.
        verify: As for `requests`.

    Returns:
        The URL that the browser is sent back to in the end, with a code or an error. It is not fetched.
    """
    url, _ = browse(authorization_url, login, deny, verify)
    assert url != "", "the authorization server sent the browser nowhere"
    return url


def approve_device(
    verification_uri_complete: str, *, login: str = "alice", deny: bool = False, verify: bool | str = True
) -> None:
    """Do what a user does to let a device in: confirm the code, log in and consent, or with `deny` cancel."""
    url, page = browse(verification_uri_complete, login, deny, verify)
    assert url == "", f"the device flow led away, to {url}"
    assert deny or "Sign-in Success" in page, page


def browse(url: str, login: str, deny: bool, verify: bool | str) -> tuple[str, str]:
    """Return the first URL of another origin and an empty text, or no URL and the page that asks for nothing more."""
    origin = urlsplit(url)[:2]
    method, data, denied = "GET", None, False
    with requests.Session() as browser:
        browser.trust_env = False
        browser.verify = verify
        for _ in range(30):
            response = browser.request(method, url, data=data, allow_redirects=False, timeout=10)
            if response.is_redirect:
                method, url, data = "GET", urljoin(url, response.headers["Location"]), None
                if urlsplit(url)[:2] != origin:
                    return url, ""
                continue
            form = Form(response.text)
            if form.action is None or denied:
                return "", response.text
            method, url, data = "POST", urljoin(url, form.action), form.fields
            if deny and "confirm" in data:
                data = {name: value for name, value in data.items() if name != "confirm"} | {"abort": "yes"}
                denied = True
            elif deny and "prompt" in data:
                method, url, data = "GET", f"{url}/abort", None
            elif "login" in data:
                data |= {"login": login, "password": "any"}
    raise AssertionError("the authorization server sends the browser round in circles")


class Form(HTMLParser):
    """The first form of a page: its `action`, None without one, and its `fields`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._forms = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form":
            self._forms += 1
            self.action = found.get("action") if self._forms == 1 else self.action
        elif tag == "input" and self._forms == 1 and found.get("name"):
            self.fields[str(found["name"])] = found.get("value") or ""


@functools.cache
def make_keys() -> tuple[str, str, dict[str, Any]]:
    """Return two private keys as PEM, one RSA and one of the curve P-256, and the set of their public halves."""
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    public = [
        RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"kid": "rsa", "alg": "RS256"},
        ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True) | {"kid": "ec", "alg": "ES256"},
    ]
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return rsa_key.private_bytes(*form).decode(), ec_key.private_bytes(*form).decode(), {"keys": public}

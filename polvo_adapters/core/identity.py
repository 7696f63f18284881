"""Who makes a request, and what may select its answer: the one place where that is worked out.

Theory of operation. What is kept across calls belongs to one caller, in one of two grains:

    grain      is kept by it                                                   worked out where a policy
    ---------  --------------------------------------------------------------  ----------------------------
    caller     quota and its learning, the key of an idempotency record,       counts credentials
               requests that were given up
    selectors  the last good response, the answer of an idempotency record     keeps answers

Connections that a server has authenticated are kept by the call itself, see `shells.requests.wire.owners`; tokens and
secrets by the auth object that fetches them; circuits, budgets and latencies by origin and tenant, as all callers of a
server see the same outage.

**The caller** is told by what authenticates the request, and by nothing that differs from one request to the next:

    found in the request                                     counts as
    -------------------------------------------------------  -----------------------------------------------------
    a value that an auth object of this package has put      the owner that the object names, which stays when a
    there, in a header or the query                          token is refreshed
    a credential that the user names (`credential=`)         its value
    Authorization, known key headers and parameters          the value; of a signature the name of its key alone
    the client certificate                                   its path

Where none of them is found, the caller is unknown, and unknown callers are one. Cookies tell a caller only where the
user names one, because servers change them from answer to answer.

**Selectors** are the caller, and all that is not known to be harmless: every header but those of a list that select no
answer (encodings, tracing, dates, the version of `requests`), the URL with its query, certificate, verification,
proxies, and the TLS settings of the adapter. A list of what looks secret would never be complete.

Digests stand for all of it. They are as long as it takes that an attacker cannot choose a request with the digest of
another, and the values are kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote_plus

from polvo_adapters.core.http import HEADER_NAME, header_names, text_of

HeaderItems: TypeAlias = Iterable[tuple[str, "str | bytes"]]

KEY_HEADERS = header_names(
    "authorization x-api-key api-key apikey x-apikey x-auth-token x-auth-key x-access-token x-api-token x-token",
    "access-token auth-token private-token job-token deploy-token x-shopify-access-token x-functions-key",
    "x-figma-token x-vault-token x-goog-api-key x-rapidapi-key ocp-apim-subscription-key x-app-token x-app-key",
    "x-client-id x-client-key x-session-token x-user-token dd-api-key dd-application-key circle-token x-gitlab-token",
    "x-github-token x-pagerduty-token x-cisco-meraki-api-key x-ibm-client-id x-mbx-apikey x-parse-session-token",
    "x-amz-security-token x-aws-ec2-metadata-token x-n8n-api-key x-redmine-api-key x-okapi-token",
    "x-dreamfactory-api-key",
)
"""Headers that authenticate, as APIs name them."""

KEY_PARAMETERS = header_names(
    "api_key apikey api-key access_token auth_token auth_key appid app_id app_key subscription-key private_token",
    "apitoken api_token oauth_consumer_key oauth_token x-amz-credential awsaccesskeyid x-goog-credential",
    "googleaccessid signature_key wskey crtfc_key session_key",
)
"""Parameters of the query that authenticate."""

AMBIGUOUS_PARAMETERS = header_names("key token license client_id sessionid")
"""Parameters that authenticate at some APIs, and name an object or a page at others: only a value like a key counts."""

HARMLESS_HEADERS = header_names(
    "accept-encoding connection content-length keep-alive te transfer-encoding expect",  # how it is sent
    "date x-amz-date x-ms-date x-date idempotency-key x-idempotency-key",
    "traceparent tracestate x-request-id request-id x-correlation-id correlation-id x-trace-id uber-trace-id",
    "b3",
    "x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags x-cloud-trace-context x-amzn-trace-id",
    "sentry-trace newrelic x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-ms-client-request-id",
    "amz-sdk-invocation-id amz-sdk-request dpop x-stainless-retry-count x-retry-count x-attempt x-client-trace-id",
)
"""Headers that select no answer."""

_HARMLESS_PARAMETERS = header_names(
    "oauth_nonce oauth_timestamp oauth_signature x-amz-signature x-amz-date x-amz-expires signature expires",
    "x-goog-signature x-goog-date x-goog-expires",
)
_SIGNED = re.compile(
    r"(?:oauth|aws|aws4-[\w-]+|digest|hawk|signature|mac|hmac|(?:[\w-]+-)?hmac-[\w-]+|sharedkey(?:lite)?|oss|obs) ",
    re.IGNORECASE,
)
_BRIEF_SIGNATURE = re.compile(  # the name of the key, ":", the signature
    r'((?:aws|sharedkey|sharedkeylite|oss|obs) +[^\s:=,"]+):[\w+/=-]+', re.IGNORECASE
)
_KEY_NAME = re.compile(  # and its value; or a quoted text, which may have anything in it
    r"[\s,;&]"
    r"(credential|oauth_token|oauth_consumer_key|username\*?|id|keyid|access|client_token|access_token)"
    r'\s*=\s*("(?:[^"\\]|\\.)*"|[^",;&\s]+)|"(?:[^"\\]|\\.)*"',
    re.IGNORECASE,
)
_DATED = re.compile(r"/[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:/|\Z)")  # the key, "/", the date and more
_LONGEST_SIGNATURE = 8192
_BOUNDARY = re.compile(r';\s*boundary=("[^"]*"|[^;]*)', re.IGNORECASE)
_LIKE_A_KEY = re.compile(r"(?=\w*[0-9])(?=\w*[A-Za-z])[\w-]{16,}")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_CREDENTIAL_DATES = frozenset({"x-amz-credential", "x-goog-credential"})  # the key, "/", the date and more


class Credential(NamedTuple):
    """Where an API takes its credential, as the user names it.

    Attributes:
        headers: Names of headers, in lower case.
        parameters: Names of parameters of the query, in lower case.
        cookies: Names of cookies.
    """

    headers: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    cookies: frozenset[str] = frozenset()

    @classmethod
    def of(cls, named: str | Iterable[str] | None) -> Credential | None:
        """Return the places that texts name: "X-Tenant-Key", "?license" for a parameter, "cookie:session".

        Raises:
            ValueError: A text names no place.
            TypeError: It is no text, and no collection of texts.
        """
        if named is None:
            return None
        texts = [named] if isinstance(named, str) else list(named) if isinstance(named, Iterable) else [named]
        if not all(isinstance(text, str) for text in texts):
            wanted = "the name of a header, '?parameter', 'cookie:name', or several of them"
            raise TypeError(f"credential={named!r}: expected {wanted}")
        places: dict[str, set[str]] = {"headers": set(), "parameters": set(), "cookies": set()}
        for text in texts:
            kind = "parameters" if text.startswith("?") else "cookies" if text.startswith("cookie:") else "headers"
            name = text.removeprefix("?").removeprefix("cookie:")
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"credential={text!r}: name a header, '?parameter' or 'cookie:name'")
            places[kind].add(name if kind == "cookies" else name.lower())
        return cls(*(frozenset(places[field]) for field in cls._fields))


class Sender(NamedTuple):
    """What of a request is not in it, and yet may select its answer.

    Attributes:
        certificate: The client certificate, as `requests` takes it.
        verify: Whether, or by which authorities, the server is verified, as `requests` takes it.
        proxies: The proxies, as `requests` takes them.
        transport: Tells the TLS settings of the adapter from those of others, or is empty where they are the default.
    """

    certificate: Any = None
    verify: Any = True
    proxies: Any = None
    transport: str = ""

    def __repr__(self) -> str:
        return "<Sender>"  # proxies may have a password


PLAIN_SENDER = Sender()
"""That of a request with the default settings."""


def digest_caller(
    headers: HeaderItems,
    url: str,
    certificate: object = None,
    owners: Mapping[str, str] | None = None,
    named: Credential | None = None,
) -> str:
    """Return what stands for the caller of a request.

    Args:
        headers: Names and values of its headers; a value may have an `owner`.
        url: Its absolute URL.
        certificate: The client certificate, as `requests` takes it.
        owners: Owners of credentials that auth objects have put there, by "?" and the name of the query parameter, or
            by the name of the header in lower case, where its value cannot name its owner.
        named: Where the user says that the credential is.

    Returns:
        32 hexadecimal digits, or an empty string where the caller is unknown.
    """
    found: list[str] = []
    for name, value in headers:
        kind = _KINDS.get(name) or _kind_of(name)
        if owners and kind[0] in owners:
            found.append(f"{kind[0]}:{owners[kind[0]]}")
        elif kind[1] == _KEY or (type(value) is not str and hasattr(value, "owner")):
            found.append(f"{kind[0]}:{_stable_value(value)}")
        elif named is not None:
            found += _find_named(kind[0], _text(value), named)
    if "?" in url:
        found += _key_parameters(url, owners or {}, frozenset() if named is None else named.parameters)
    if certificate is not None:
        found.append(f"certificate:{certificate!a}")
    return _digest(found) if found else ""


def list_selectors(
    headers: HeaderItems,
    url: str,
    caller: str,
    sender: Sender,
    owners: Mapping[str, str] | None = None,
    harmless: Collection[str] = (),
) -> list[str]:
    """Return everything that may select the answer to a request, each as "name:value" with the name for messages.

    Args:
        headers: Names and values of its headers; a value may have an `owner`.
        url: Its absolute URL.
        caller: Digest of its caller.
        sender: What is not in the request.
        owners: Owners of credentials, as for `digest_caller`.
        harmless: Names of further headers, in lower case, that select no answer.
    """
    found = [f"URL:{strip_signature(url, owners)}", f"caller:{caller}"]
    for name, value in headers:
        lower, kind = _KINDS.get(name) or _kind_of(name)
        if owners and lower in owners:
            found.append(f"header {lower}:{owners[lower]}")
        elif kind == _KEY or (type(value) is not str and hasattr(value, "owner")):
            found.append(f"header {lower}:{_stable_value(value)}")
        elif kind != _HARMLESS and lower not in harmless:
            text = value if type(value) is str else _text(value)
            if kind == _OTHER or not text.startswith(_OWN_AGENTS):
                found.append(f"header {lower}:{_strip_boundary(text) if 'boundary=' in text else text}")
    if sender != PLAIN_SENDER:
        found += _list_sender(sender)
    return found


def _strip_boundary(text: str) -> str:
    """Return a content type without the boundary of its parts, which is drawn at random."""
    return _BOUNDARY.sub("", text)


def _list_sender(sender: Sender) -> list[str]:
    certificate, verify, proxies, transport = sender
    found = []
    if certificate is not None:
        found.append(f"certificate:{certificate!a}")
    if verify is not True:
        found.append(f"verify:{verify!a}")
    if proxies:
        found.append(f"proxies:{sorted(proxies.items())!a}")
    if transport:
        found.append(f"TLS settings of the adapter:{transport}")
    return found


def digest_selectors(found: list[str]) -> str:
    """Return one digest of all selectors."""
    return _digest(found)


def digest_each(found: list[str], salt: str) -> str:
    """Return a digest of each selector but the URL, as one text: to tell later which of them differs.

    Args:
        found: The selectors.
        salt: Mixed into the digests, so that equal values of two operations do not show.
    """
    key = blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    parts = (each.partition(":") for each in sorted(found) if not each.startswith("URL:"))
    return "\n".join(
        f"{name}={blake2b(value.encode('utf-8', 'surrogatepass'), key=key, digest_size=8).hexdigest()}"
        for name, _, value in parts
    )


def name_difference(before: str, now: str) -> str:
    """Return the names of the selectors in which two texts of `digest_each` differ."""
    old, new = (dict(line.rpartition("=")[::2] for line in text.split("\n") if line) for text in (before, now))
    return ", ".join(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def strip_signature(url: str, owners: Mapping[str, str] | None) -> str:
    """Return a URL with owners in the place of credentials, and without what signs it."""
    signed = "ignature=" in url  # Signature, X-Amz-Signature, oauth_signature
    if not owners and not signed:
        return url.partition("#")[0] if "#" in url else url
    owners = owners or {}
    address, _, _ = url.partition("#")[0].partition("?")
    kept = []
    for pair in _pairs(url):
        name = unquote_plus(pair.partition("=")[0])
        lower = name.lower()
        if f"?{name}" in owners:
            kept.append(f"{name}={owners[f'?{name}'] or pair.partition('=')[2]}")
        elif not signed or lower not in _HARMLESS_PARAMETERS:
            kept.append(unquote_plus(pair).partition("/")[0] if lower in _CREDENTIAL_DATES else pair)
    return f"{address}?{'&'.join(kept)}"


_OTHER, _KEY, _HARMLESS, _AGENT = "other", "key", "harmless", "agent"
_OWN_AGENTS = ("python-requests/", "python-httpx/")  # whose version says nothing to a server

_KINDS: dict[str, tuple[str, str]] = {}  # of header names, as requests repeat them
_MOST_KINDS = 1024


def _kind_of(name: str) -> tuple[str, str]:
    """Return the name of a header in lower case, and what its value may be."""
    lower = name.lower()
    kind = _KEY if lower in KEY_HEADERS else _HARMLESS if lower in HARMLESS_HEADERS else _OTHER
    kind = _AGENT if lower == "user-agent" else kind
    if len(_KINDS) < _MOST_KINDS:
        _KINDS[name] = (lower, kind)
    return lower, kind


def _find_named(lower: str, value: str, named: Credential) -> list[str]:
    """Return what a header says of the caller where the user names it, or cookies in it."""
    if lower in named.headers:
        return [f"{lower}:{value}"]
    return _named_cookies(value, named.cookies) if lower == "cookie" else []


def _text(value: str | bytes) -> str:
    """Return the value of a header as plain text."""
    return str(text_of(value))


def _stable_value(value: Any) -> str:
    """Return the owner of a value, or the part of it that does not differ from request to request."""
    return getattr(value, "owner", "") or _stable_part(_text(value))


def _stable_part(value: str) -> str:
    """Return the name of the key of a signature, which itself differs from request to request, or the value.

    Where the name is not found for certain, it is the whole value: two callers must never count as one.
    """
    scheme = _SIGNED.match(value)
    if scheme is None or len(value) > _LONGEST_SIGNATURE:
        return value
    brief = _BRIEF_SIGNATURE.fullmatch(value)
    if brief is not None:
        return brief[1]
    names = [f"{name}={_DATED.split(key)[0]}" for name, key in _KEY_NAME.findall(value) if name]
    return f"{scheme[0]}{','.join(names)}" if names else value


def _named_cookies(header: str, names: Collection[str]) -> list[str]:
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return [f"cookie {name}:{value}" for name, _, value in pairs if name in names]


def _key_parameters(url: str, owners: Mapping[str, str], named: Collection[str]) -> list[str]:
    found = []
    for pair in _pairs(url):
        name, _, value = pair.partition("=")
        name = unquote_plus(name)
        lower = name.lower()
        if f"?{name}" in owners:
            found.append(f"?{lower}:{owners[f'?{name}'] or value}")
        elif lower in KEY_PARAMETERS or lower in named or (lower in AMBIGUOUS_PARAMETERS and _is_like_a_key(value)):
            stable = unquote_plus(value).partition("/")[0] if lower in _CREDENTIAL_DATES else value
            found.append(f"?{lower}:{stable}")
    return found


def _is_like_a_key(value: str) -> bool:
    return _LIKE_A_KEY.fullmatch(value) is not None and _UUID.fullmatch(value) is None


def _pairs(url: str) -> list[str]:
    return url.partition("#")[0].partition("?")[2].split("&")


def _digest(found: list[str]) -> str:
    found.sort()
    text = "\n".join(found)
    if text.count("\n") >= len(found):  # one has a line break in it, with which no header can be sent
        text = ascii(found)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

"""Refusals that bodies state, and no header shows.

Theory of operation. Few bodies speak of quotas, so the search has to be cheap:

    errors      searched for a few marker words, up to 1 MiB; read as JSON where one is found, up to 64 KiB
    successes   searched up to 4 KiB, if they begin like JSON: one that states a refusal carries no data

The readers of vendors come first, each of which returns a `Complaint` or None, and then a reader for any API that
names its refusal by a code, see `polvo_adapters.headers.codes`. In an error the code may stand at the top; in a success
it counts only within an error, see `polvo_adapters.headers.holders`.

**Of what.** Quotas of storage, seats or coupons are exceeded too, and waiting does not help. With 429 a server says
that it speaks of requests; with another status, what a code or a sentence names has to be requests.

**Processed.** A refusal says that nothing was done, unless the body carries something besides: an answer to GraphQL
with data, or a batch of which one part was refused. An error 500 with a sentence, or with the code among its details,
may be that of a server that was refused itself, by another one, in the middle of its work.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from polvo_adapters.headers import holders, pages, vendor_refusals
from polvo_adapters.headers.body import Json, begins_like_json, load_json, strip_frame, to_objects
from polvo_adapters.headers.codes import (
    classify_code,
    is_about_concurrency,
    is_about_other_things,
    is_complaint,
    is_spent,
    names_other_things,
)
from polvo_adapters.headers.holders import find_wait, has_content, list_codes, list_holders, list_prose
from polvo_adapters.headers.markers import may_refuse
from polvo_adapters.headers.quota import Complaint, Kind

LONGEST_BODY = 1 << 20
LONGEST_JSON = 1 << 16
_MARKERS = (
    *(b"limit", b"throttl", b"quota", b"many", b"exhausted", b"concurren", b"complexity", b"slow", b"throughput"),
    *(b"retry_after", b"lock_timeout", b"policyname", b"reduced-capacity", b"abnormal-usage", b"maxlag", b"max_lag"),
    *(b"flood", b"notcomplete", b"serverbusy", b"429", b"frequen", b"credits", b"requestrate", b"request_rate"),
    *(b"request-rate", b"oauthexception", b"fbtrace_id", b"budget", b"threshold_", b"overloaded", b"retrydelay"),
    *(b"calm", b"exceeded", b"too much", b"abuse detection", b"too fast", b"retry later", b"run out of"),
    *(b"no more requests", b" cap ", b"number of", b"rapidly", b"too quick"),
)
_WORDY = (200, 400, 401, 402, 403, 409, 418, 420, 429, 430, 456)
"""Statuses below 500 with which a sentence alone may ask for a slower pace; of those above, all may."""
_PARTLY = (500, 502, 504)
"""Errors of a server that may have begun its work when something behind it was refused."""
_UNRELATED = (404, 405, 406, 410, 411, 413, 414, 415, 431)
"""Errors that are about what was asked, whatever limit they name: one that is too large stays so."""
_UNAUTHORIZED, _UNPAID, _TOO_MANY, _SPENT, _DOWN = 401, 402, 429, 456, 503  # 456 of DeepL
_MESSAGE = re.compile(r"(?:message=)?([\w.-]{1,96})[:;] .{0,512}\Z", re.DOTALL)
"""A message that begins with its code, as in "message=ThrottleExceeded; errorCode=003001"."""
_ANY_PLAN = re.compile(r"(?:plan|subscription)[-_.]?limit", re.IGNORECASE)
_PLAN = (401, 402, 403, 456)  # errors in which a quota that is exceeded is that of a plan; with 429 it is one of pace
SPENT_REASON, PACE_REASON = "quota in its message", "rate limit in its message"

Reader: TypeAlias = "Callable[[Json, int], Complaint | None]"
"""Returns the refusal that a JSON object states, from the object and the status of the response."""


def find_complaint(body: bytes | None, status: int) -> Complaint | None:
    """Return the complaint of a body that refuses for want of quota, or None.

    Args:
        body: The body as far as it was read, or None.
        status: The status of the response.
    """
    if not isinstance(body, (bytes, bytearray)) or not body:
        return None
    if status < 400:
        text = strip_frame(bytes(body)) if may_refuse(body) else b""
        if begins_like_json(text):
            return _find_first(_QUIET, text, status)
        return _read_page(text, _TOO_MANY) if pages.says_failure(text) else None
    text = strip_frame(bytes(body[:LONGEST_BODY]))
    lower = text.lower()
    if status in _UNRELATED or not any(marker in lower for marker in _MARKERS):
        return None
    is_json = len(body) <= LONGEST_JSON and begins_like_json(text)
    found = (_find_first(_LOUD, text, status) if is_json else None) or pages.read_plain(text, status)
    if found is not None or (status < 500 and status not in _WORDY):
        return found
    found = _find_first((_read_prose,), text, status) if is_json else _read_page(text, status)
    return found._replace(processed=True) if found is not None and status in _PARTLY else found


def find_wait_in_body(body: bytes | None) -> float | None:
    """Return the seconds that the body of a refusal asks to wait in a field at any depth, or in XML, or None."""
    if not isinstance(body, (bytes, bytearray)) or len(body) > LONGEST_JSON:
        return None
    text = strip_frame(bytes(body))
    if not begins_like_json(text):
        return pages.find_wait(text)
    document = load_json(text)
    return holders.find_nested_wait(document)


def _find_first(readers: tuple[Reader, ...], text: bytes, status: int) -> Complaint | None:
    """Return the first complaint; the documents of a GraphQL batch, or of a list of errors, are read in turn."""
    document = load_json(text)
    if status >= 400 and isinstance(document, list) and not any(isinstance(each, (dict, list)) for each in document):
        document = {"error": document}  # ["error", 11010, "ratelimit: error"] of Bitfinex
    documents = list(to_objects(document if isinstance(document, list) else [document]))
    candidates = documents if status >= 400 else [each for each in documents if not holders.is_data(each)]
    found = (read(each, status) for each in candidates for read in readers)
    first = next((each for each in found if each is not None), None)
    if first is None or status >= 400:
        return first
    done = len(documents) > 1 or any(has_content(each) and not holders.says_failure(each) for each in documents)
    return first._replace(processed=True) if done else first


def _read_problem(document: Json, status: int) -> Complaint | None:
    found = vendor_refusals.read_problem(document, status)
    return None if found is not None and status != _TOO_MANY and _is_about_other_things([document]) else found


def _read_codes(document: Json, status: int) -> Complaint | None:
    """Return the complaint of an API that names its refusal by a code."""
    if status < 400 and holders.says_success(document):
        return None
    found = list_holders(document, quiet=status < 400)
    for holder in found:
        for code in list_codes(holder, is_top=holder is found[0] and holders.has_error(found)):
            kind = _classify(code, status, found) if code else None
            if kind is not None:
                complaint = _describe_code(kind, code, document, found)
                is_inner = status in _PARTLY and not holders.is_stated(document, holder)
                return complaint._replace(processed=True) if is_inner else complaint
    if any(map(holders.says_too_many, found)) and status != _TOO_MANY:
        return _describe_code("rate", "status 429 in its body", document, found)
    return None


def _classify(code: str, status: int, found: list[Json]) -> Kind | None:
    """Return the kind of refusal that a code names, with what the status and the sentences beside it say."""
    kind = classify_code(code)
    if status == _TOO_MANY:
        return kind
    if kind is None and status in _PLAN and holders.normalize(code) in ("quotaexceeded", "quotareached"):
        kind = "exhausted"
    if kind is None or names_other_things(code):
        return None
    is_unclear = kind == "exhausted" and (_ANY_PLAN.search(code) or _is_about_other_things(found))
    return None if is_unclear else kind  # a plan limits seats and projects too, and a bank what is spent in a day


def _is_about_other_things(found: list[Json]) -> bool:
    return any(map(is_about_other_things, list_prose(found)))


def _describe_code(kind: Kind, code: str, document: Json, found: list[Json]) -> Complaint:
    prose = list_prose(found)
    if code == "REQUEST_LIMIT_EXCEEDED" and any("oncurrent" in each for each in prose):
        kind = "concurrency"  # Salesforce has one code for both
    if kind == "rate" and any(map(is_about_concurrency, prose)):
        kind = "concurrency"
    if kind == "rate" and any(is_spent(each, is_certain=True) for each in prose):
        return Complaint("exhausted", SPENT_REASON, _find_wait(document, found))
    if kind == "exhausted":
        return Complaint(kind, code)
    return Complaint(kind, code, _find_wait(document, found), moment=holders.find_moment(found))


def _find_wait(document: Json, found: list[Json]) -> float | None:
    """Return the seconds to wait, beside the error or in it; a document that has failed speaks of nothing else."""
    return find_wait(found) if found[0] is document else find_wait([*found, *list_holders(document, quiet=False)])


def _read_prose(document: Json, status: int) -> Complaint | None:
    """Return the complaint of an API that refuses by a sentence alone."""
    found = list_holders(document, quiet=status < 400)
    prose = list_prose(found)
    if status < 400 and holders.says_success(document):
        return None
    if status < 400 and found[0] is document:
        prose += [value for value in (document.get("result"),) if isinstance(value, str)]  # of Etherscan
    if status == _UNAUTHORIZED and any(" " not in each for each in prose):
        return None  # there is a code, and it says that the credential is refused
    is_certain = status == _TOO_MANY
    if any(is_spent(each, is_certain=is_certain) or _is_spent_plan(each, status) for each in prose):
        return Complaint("exhausted", SPENT_REASON, find_wait(found))
    if any(is_complaint(each, is_certain=is_certain) for each in prose):
        kind: Kind = "concurrency" if any(map(is_about_concurrency, prose)) else "rate"
        return Complaint(kind, PACE_REASON, find_wait(found), moment=holders.find_moment(found))
    at_once = status in (_TOO_MANY, _DOWN) or status < 400
    if at_once and any(is_about_concurrency(each, is_certain=is_certain) for each in prose):
        return Complaint("concurrency", PACE_REASON, find_wait(found))
    return _read_code_as_message(found, status)


def _is_spent_plan(prose: str, status: int) -> bool:
    """Return whether a message says that a quota is used up, with a status that says whose: that of a plan."""
    words = prose.lower()
    if status == _UNPAID and "quota" in words and "exceeded" in words and not is_about_other_things(prose):
        return True
    return (status == _SPENT and "quota" in words) or (status in _PLAN and words.rstrip(". ") == "quota exceeded")


def _read_code_as_message(found: list[Json], status: int) -> Complaint | None:
    """Return the complaint of a message that is a code, as "too_many_requests" of JSON-RPC, where there is no other."""
    for holder in found:
        codes = list_codes(holder, is_top=True)
        prose = list_prose([holder])
        if any(code and not code.isdigit() and code not in prose for code in codes):
            continue
        for each in prose:
            kind = _classify(_MESSAGE.sub(r"\1", each), status, found)
            if kind is not None:
                return Complaint(kind, PACE_REASON, find_wait(found))
    return None


def _read_page(text: bytes, status: int) -> Complaint | None:
    return _read_prose({"message": pages.find_sentence(text)}, status)


_QUIET: tuple[Reader, ...] = (
    *(vendor_refusals.read_graphql, vendor_refusals.read_slack, vendor_refusals.read_limit_of_node),
    *(vendor_refusals.read_note, vendor_refusals.read_geonames, _read_codes, _read_prose),
)
"""Readers for APIs that refuse with the status of a success."""
_LOUD: tuple[Reader, ...] = (
    *(vendor_refusals.read_graphql, vendor_refusals.read_slack, _read_problem, vendor_refusals.read_error),
    *(vendor_refusals.read_google, vendor_refusals.read_hubspot, vendor_refusals.read_discord),
    *(vendor_refusals.read_aws, vendor_refusals.read_limit_of_node, _read_codes),
)

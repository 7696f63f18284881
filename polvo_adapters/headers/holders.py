"""The parts of a JSON body that describe an error: codes, sentences, and the time to wait.

Theory of operation. An *error holder* is an object that may hold a code: the document itself, or what is in it under
names such as `error`, `errors` or `fault`, in any case and with any prefix (`o:errorDetails`). Of a success, only what
is named an error counts, as anything else is data; unless the document says that it is a failure and holds nothing
else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from polvo_adapters.headers import times
from polvo_adapters.headers.body import Json, to_object, to_objects, to_word
from polvo_adapters.headers.codes import find_moment as find_moment_in_words
from polvo_adapters.headers.codes import find_wait as find_wait_in_words
from polvo_adapters.headers.entries import MOST_QUOTAS, to_amount

_CODE_KEYS = {
    *("code", "type", "reason", "error", "errorcode", "errortype", "errorname", "errorkey", "tag", "subcode"),
    *("errorstatus", "symbol", "apierrorcode", "errortag", "faultcode"),
}
_LOOSE_KEYS = {"status", "name"}
"""Keys that hold a code in an error, and at the top where there is no error beside them: else they are of the data."""
_NUMBER_KEYS = {"code", "errorcode", "status", "statuscode", "httpstatus", "httpcode"}
_FAILING_KEYS = {"code", "errcode", "errno", "retcode", "resultcode", "infocode", "errorcode"}
_SECONDS = r"(s|sec|secs|seconds|ms|msec|milliseconds)"
_WAIT_KEY = re.compile(
    rf"(?:(?:retry|try)(?:again)?(?:after|in|delay|time)|(?:wait|backoff|cooldown)(?:time|for)?){_SECONDS}?\Z"
    rf"|throttle{_SECONDS}\Z|rate(?:limit)?reset(?:in|after)?{_SECONDS}?\Z"
)
_PROSE_KEYS = {
    *("message", "msg", "errormsg", "errmsg", "retmsg", "errormessage", "errordescription", "description", "err"),
    *("info", "detail", "details", "title", "error", "errorsummary", "errorstring", "errordetail", "longmessage"),
    *("statusmessage", "statustext", "faultstring", "submsg", "diagnostics", "developermessage", "httpmessage"),
    *("moreinformation", "reason", "text", "errors"),
}
_HOLDERS = {
    *("error", "errors", "errordetails", "errorresponse", "extensions", "fault", "detail", "details", "parameters"),
    "extras",
}
_STATED = {"error", "errors", "errordetails", "fault", "issue"}
_LOUD_HOLDERS = {
    "meta",
    "status",
    "reasons",
    "issue",
    "issues",
    "failures",
    "messages",
    "response",
    "message",
    "context",
}
"""What may hold the error of a response that is one by its status; in a success it holds data."""
_STATES = ("status", "state", "object", "created", "created_at", "createdAt", "count", "level", "title", "attempts")
_NO_ID = re.compile(
    r"(?:request|req|trace|correlation|log|error|span|instance|activity|operation)[-_]?id", re.IGNORECASE
)
_ID = re.compile(r"(?:.*_id|[a-z]\w*I[dD]|uuid|guid)\Z")
_NO_CONTENT = {"error", "errors", "extensions", "ratelimit"}
_OF_AN_ERROR = re.compile(
    r"err|message|msg|code|stat|success|ok\Z|result|response|reason|request|trace|time|\Ats\Z|date\Z|serve|host|doc|help|info"
    r"|retry|wait|warning|throttle|lang|version|jsonrpc|id\Z|type|detail|description|title|link|path|method|api|quota|rate"
    r"|limit|backoff|note|more\Z"
)
"""What the names of scalars beside an error contain that belong to it."""
_ENVELOPES = re.compile(r"(?:json|result|\w{0,64}response)\Z", re.IGNORECASE)
_FAILURES = {"error", "fail", "failed", "failure", "notok", "false"}
_MOST_HOLDERS = 16
_MOST_NODES = 64
_TOO_MANY = 429


def list_holders(document: Json, *, quiet: bool) -> list[Json]:
    """Return the objects that may hold a code, outermost first; of a success, those of its error only.

    Args:
        document: The document.
        quiet: Whether the status is that of a success.
    """
    first = _find_error(document) if quiet else document
    holders = [first]
    for holder in holders:
        for key, value in holder.items():
            name = normalize(key)
            if name in _HOLDERS or (not quiet and (name in _LOUD_HOLDERS or _holds_error(name, value))):
                found = to_objects(value if isinstance(value, list) else [value])
                holders += (each for each in found if not (quiet and is_resource(each)))
        if len(holders) >= _MOST_HOLDERS:
            break
    return holders[:_MOST_HOLDERS]


def _holds_error(name: str, value: object) -> bool:
    """Return whether a value of an error is the data of the response, with the error in it, as Imgur sends it."""
    return name == "data" and isinstance(value, dict) and any(normalize(key) == "error" for key in value)


def _find_error(document: Json) -> Json:
    """Return the parts of a success that describe its error: those that are named so, and those that belong to them.

    That is the message beside `"error": 29` or `"error": true`, and the status beside an `error_message`.
    """
    if len(document) == 1:  # `{"Response": {"Error": …}}`
        name, value = next(iter(document.items()))
        within = to_object(value)
        is_envelope = _ENVELOPES.match(name) and any(normalize(key) in ("error", "errors") for key in within)
        document = within if is_envelope and not is_data(within) else document
    if says_failure(document):
        return document
    first = {key: value for key, value in document.items() if "error" in key.lower()}
    if isinstance(document.get("error"), int) and document["error"]:
        first |= {key: document[key] for key in ("message", "msg") if key in document}
    if any(isinstance(value, str) and value and normalize(key) == "errormessage" for key, value in first.items()):
        first |= {key: document[key] for key in ("status",) if key in document}
    return first


def is_stated(document: Json, holder: Json) -> bool:
    """Return whether a holder is the error that a document states, and not one among the details of it."""
    stated = (value for key, value in document.items() if normalize(key) in _STATED)
    return (
        holder is document
        or any(holder is each for value in stated for each in (value if isinstance(value, list) else [value]))
        or "fault" in document
    )


def is_resource(document: Json) -> bool:
    """Return whether an object of a success is a resource of the API, such as a job that has failed, and no refusal."""
    if "jsonrpc" in document or not any(document.get(key) is not None for key in _STATES):
        return False
    has_id = "id" in document or any(_ID.match(key) and not _NO_ID.match(key) for key in document)
    return has_id or ("level" in document and len(document) > 1)


def is_data(document: Json) -> bool:
    """Return whether a success is a resource, or says more beside its error than an error has to say."""
    if is_resource(document):
        return True
    return not says_failure(document) and any(
        value is not None and not isinstance(value, (dict, list)) and not _OF_AN_ERROR.search(normalize(key))
        for key, value in document.items()
    )


def has_content(document: Json) -> bool:
    """Return whether a document holds more than an error, so that a part of the request was processed."""
    return any(_holds_anything(value) for key, value in document.items() if normalize(key) not in _NO_CONTENT)


def _holds_anything(value: object) -> bool:
    if isinstance(value, dict):
        return any(each is not None for each in value.values())
    return isinstance(value, list) and any(each is not None for each in value)


def says_success(document: Json) -> bool:
    """Return whether a document says that there is no error in it."""
    return document.get("ok") is True or document.get("success") is True


def says_failure(document: Json) -> bool:
    """Return whether a document says that it is a failure, by a flag or a number, and holds nothing else."""
    if is_resource(document) or says_success(document):
        return False
    named = {normalize(key): value for key, value in document.items()}
    failed = named.get("ok") is False or named.get("success") is False
    failed = failed or any(_is_failing_status(named.get(key)) for key in ("status", "stat", "response"))
    if not failed and not any(_is_failing_number(value) for key, value in named.items() if key in _FAILING_KEYS):
        return False
    content = {key: value for key, value in document.items() if normalize(key) not in _HOLDERS}
    return not has_content(content)


def _is_failing_status(value: object) -> bool:
    return isinstance(value, str) and (value == "0" or value.lower() in _FAILURES)


def _is_failing_number(value: object) -> bool:
    """Return whether a code of a success says that it is none; 0 and 200 to 299 say that it is."""
    if isinstance(value, str) and value.removeprefix("-").isdigit() and value.isascii() and len(value) <= 9:
        value = int(value)
    return isinstance(value, int) and not isinstance(value, bool) and value != 0 and not 200 <= value < 300


def has_error(holders: list[Json]) -> bool:
    """Return whether a document states its error somewhere else than in loose keys at its top."""
    return len(holders) > 1 or not {"code", "error"}.isdisjoint(holders[0])


def list_codes(holder: Json, *, is_top: bool) -> list[str]:
    """Return what may be codes in a holder.

    Args:
        holder: The holder.
        is_top: Whether it is a whole document that has its error somewhere else.
    """
    keys = _CODE_KEYS if is_top else _CODE_KEYS | _LOOSE_KEYS
    return [to_word(value) for key, value in holder.items() if normalize(key) in keys]


def says_too_many(holder: Json) -> bool:
    """Return whether a holder has the status 429 as its code, and a sentence; statistics of errors have none."""
    found = any(value in (_TOO_MANY, str(_TOO_MANY)) for key, value in holder.items() if normalize(key) in _NUMBER_KEYS)
    return found and bool(list_prose([holder]))


def list_prose(holders: list[Json]) -> list[str]:
    """Return the sentences in holders."""
    values = [value for holder in holders for key, value in holder.items() if normalize(key) in _PROSE_KEYS]
    lists = [each for value in values if isinstance(value, list) for each in value[:MOST_QUOTAS]]
    lists += [each for within in lists if isinstance(within, list) for each in within[:MOST_QUOTAS]]  # of Reddit
    return [value for value in (*values, *lists) if isinstance(value, str)]


def find_wait(holders: list[Json]) -> float | None:
    """Return the seconds that a body asks to wait, in a field of its own or in its message, or None."""
    for holder in holders:
        wait = next(filter(None, (_read_wait(normalize(key), value) for key, value in holder.items())), None)
        if wait is not None:
            return wait
        if isinstance(holder.get("lag"), (int, float)):
            return to_amount(holder["lag"])  # of MediaWiki, where there is no Retry-After
    return next((wait for wait in map(find_wait_in_words, list_prose(holders)) if wait is not None), None)


def find_nested_wait(document: object) -> float | None:
    """Return the seconds that a refusal asks to wait in a field at any depth, or None."""
    return find_wait(list(walk(document)))


def find_moment(holders: list[Json]) -> float | None:
    """Return the Unix time until which a message asks to wait, or None."""
    return next((moment for moment in map(find_moment_in_words, list_prose(holders)) if moment is not None), None)


def walk(value: object) -> Iterator[Json]:
    """Yield the objects in a value, outermost first; of many the first."""
    waiting = [value]
    for each in waiting:
        if isinstance(each, dict):
            yield each
        within = list(each.values()) if isinstance(each, dict) else each if isinstance(each, list) else []
        waiting += within[: _MOST_NODES - len(waiting)] if len(waiting) < _MOST_NODES else []


def _read_wait(name: str, value: object) -> float | None:
    """Return the seconds that a field with such a name asks to wait; a moment is none."""
    found = _WAIT_KEY.match(name)
    if found is None:
        return None
    wait = times.parse_number(value) if isinstance(value, str) else to_amount(value)
    if wait is None or wait >= times.EPOCH_SECONDS:
        return None
    unit = next(filter(None, found.groups()), "s")
    return wait / 1000 if unit.startswith("m") else wait


def normalize(key: str) -> str:
    """Return a key without its case, its word separators and the prefix of its namespace."""
    return key.rpartition(":")[2].replace("_", "").replace("-", "").lower().lstrip(".")

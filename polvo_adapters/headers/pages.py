"""Refusals in bodies that are no JSON: XML, pages, and single lines.

Theory of operation. XML states an error as JSON does, by a code and a sentence. They are found by the names of their
elements and attributes, without a parser, so that no body costs more than one pass over it. A fault of SOAP may be
named by its element alone, as in `<exceededConcurrentRequestLimitFault>`.
"""

from __future__ import annotations

import re

from polvo_adapters.headers.codes import is_spent
from polvo_adapters.headers.quota import Complaint
from polvo_adapters.headers.vendor_refusals import read_aws_code

LONGEST_PAGE = 1 << 16
_LONGEST_LINE = 256
_START = 128
_LONGEST_OF_PROXY = 1024  # with the lines by which nginx makes its page long enough for old browsers
_MOST_CODES = 16
_CODE = re.compile(
    rb"<(?:[\w.-]{1,32}:)?(?:error|fault|exception|err)?_?(?:code|reason)(?:\s[^<>]{0,128})?>\s{0,8}([\w.:/#-]{1,128})\s{0,8}<"
    rb"|<(?:[\w.-]{1,32}:)?(?:error|err|fault)\s[^<>]{0,256}?\bcode=[\"']([\w.:/#-]{1,128})[\"']"
    rb"|<(?:[\w.-]{1,32}:)?(\w{1,96}Fault)[\s>/]",
    re.IGNORECASE,
)
_FAILED = re.compile(
    rb"<rsp\s[^<>]{0,128}\bstat=[\"']fail[\"']|<Ack>Failure</Ack>",
    re.IGNORECASE,
)
_WAIT = re.compile(
    rb"\b(?:retry-?_?after|back-?_?off)_?-?(milliseconds|ms|seconds|)[\"']?(?:\s[^<>]{0,64})?>\s{0,8}([0-9]{1,9})\s{0,8}<",
    re.IGNORECASE,
)
_TITLE = re.compile(
    rb"<(?:[\w.-]{1,32}:)?(?:err|error|fault)\s[^<>]{0,256}?\b(?:msg|message)=(?:\"([^<>\"]{1,256})\"|'([^<>']{1,256})')|"
    rb"<(?:[\w.-]{1,32}:)?(?:title|(?:short)?message|error_?message|err|description|faultstring|error|h1)(?:\s[^<>]{0,128})?>\s{0,64}([^<]{1,256})<",
    re.IGNORECASE,
)
_OF_PROXY = re.compile(
    rb"<hr>\s{0,8}<center>(?:nginx|openresty|tengine)\b|No server is available to handle this request", re.IGNORECASE
)


def is_page_of_proxy(text: bytes | None) -> bool:
    """Return whether a body is the page of nginx or HAProxy, which have one for a limit and for a server that is down.

    Args:
        text: The body of a 503, or None.

    Source: nginx, `limit_req_status` and `limit_conn_status`; HAProxy, "maxconn" and "timeout queue".
    """
    return text is not None and _OF_PROXY.search(text[:_LONGEST_OF_PROXY]) is not None


def read_plain(text: bytes, status: int) -> Complaint | None:
    """Return the complaint of a text that is not JSON, or too long for it: prose of GitHub, codes in XML.

    Args:
        text: The body.
        status: The status of the response.
    """
    if status in (403, 429):
        lower = text[:LONGEST_PAGE].lower()
        if b"secondary rate limit" in lower or b"abuse detection" in lower:
            return Complaint("rate", "GitHub secondary rate limit", pause=60.0)
    if text[:_START].lstrip()[:1] != b"<":
        return None
    for _, found in zip(range(_MOST_CODES), _CODE.finditer(text[:LONGEST_PAGE]), strict=False):
        code = (found[1] or found[2] or found[3]).decode("ascii", "replace").rpartition(":")[2]
        complaint = read_aws_code(code)
        if complaint is not None:
            is_long = complaint.kind == "rate" and is_spent(find_sentence(text))
            return complaint._replace(kind="exhausted") if is_long else complaint
    return None


def says_failure(text: bytes) -> bool:
    """Return whether XML with the status of a success says that it failed: `stat="fail"`, `<Ack>Failure</Ack>`."""
    return text[:_START].lstrip()[:1] == b"<" and _FAILED.search(text[:LONGEST_PAGE]) is not None


def find_wait(text: bytes) -> float | None:
    """Return the seconds to wait that XML names in an element, as Exchange's BackOffMilliseconds, or None."""
    found = _WAIT.search(text[:LONGEST_PAGE]) if text[:_START].lstrip()[:1] == b"<" else None
    return None if found is None else float(found[2]) / (1000.0 if found[1].lower().startswith(b"m") else 1.0)


def find_sentence(text: bytes) -> str:
    """Return a short text, or the title or message of a page or XML; an empty string where there is none."""
    if b"<" not in text[:_START]:
        words = text if len(text) <= _LONGEST_LINE else b""
    else:
        found = _TITLE.search(text[:LONGEST_PAGE])
        words = b"" if found is None else found[1] or found[2] or found[3]
    return words.decode("utf-8", "replace").strip()

"""What it costs to work out who makes a request, and what may select its answer.

What: `digest_caller` and the selectors of `polvo_adapters.core.identity`, for a request with six headers and a query.
Bar: 3 µs each; it is worked out only where a policy keeps something by it.

How: the headers are those that `requests` sets, a bearer token and a request id.

Why that way: the digest of every header is the part that cannot be left out, and a token must not stay in a cache.
"""

from __future__ import annotations

import requests

from polvo_adapters.core.identity import PLAIN_SENDER, digest_caller, digest_selectors, list_selectors
from tests.benchmarks.measure import Result, Variant, compare

BAR = "≤ 3 µs more"


def identities(*, quick: bool = False) -> list[Result]:
    """Measure both grains."""
    request = requests.Session().prepare_request(requests.Request("GET", "https://api.example.com/items?page=2"))
    request.headers["Authorization"] = "Bearer " + "x" * 40
    request.headers["X-Request-Id"] = "0" * 36
    headers, url = request.headers, request.url or ""
    caller = digest_caller(headers.items(), url)

    def select() -> str:
        return digest_selectors(list_selectors(headers.items(), url, caller, PLAIN_SENDER))

    variants = [
        Variant("looking at the headers", lambda: [None for _ in headers.items()]),
        Variant("the caller", lambda: digest_caller(headers.items(), url), bar=BAR),
        Variant("what selects an answer", select, bar=BAR),
    ]
    return compare(variants, rounds=5 if quick else 200, batch=50 if quick else 500)

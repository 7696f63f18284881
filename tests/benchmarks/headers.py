"""What it costs to read the quotas of a response, and whether a hostile server can make it fail.

What, `headers`: `polvo.headers.parse` of a response with twelve ordinary headers and those of one dialect, over a
function that does nothing; with texts that were not met before, and with the same ones again; and the search of a
successful body of 10 KB for a refusal. Bars: 3 µs without quotas, 15 µs with new ones, 5 µs with remembered ones,
1 µs for the body.

How: requests' own mapping. The new ones differ in what remains and in the reset, as they do from response to
response, and there are more of them than the memory holds.

What, `hostile`: exceptions, and growth of memory, over random header sets of real names and nasty values: real
ones, cut, doubled and spliced, numbers out of range, long runs of delimiters, megabytes. Bars: no exception, and no
more memory than the bounded memories hold.

Why that way: one process reads them all, because what leaks, leaks slowly.
"""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import NamedTuple

from requests.structures import CaseInsensitiveDict

from polvo_adapters.headers import parse, parse_body, throttled
from tests.benchmarks.measure import Result, Variant, compare
from tests.support.header_samples import ALL, NASTY, NOW, SOON, rest

_ORDINARY = {
    "Date": "Wed, 21 Oct 2026 07:28:00 GMT",
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": "1234",
    "Connection": "keep-alive",
    "Server": "nginx",
    "Vary": "Accept-Encoding",
    "ETag": '"5f3c"',
    "Cache-Control": "no-cache",
    "X-Request-Id": "8e03978e",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Frame-Options": "DENY",
    "Content-Encoding": "gzip",
}
_NEW, _SAME, _NONE, _BODY = "≤ 15 µs", "≤ 5 µs", "≤ 3 µs", "≤ 1 µs"
_DIFFERENT = 4000
_WARM = 1000
_NAMES = sorted({name for sample in ALL for name in sample.headers} | {"Date", "Retry-After"})
_VALUES = sorted({value for sample in ALL for value in sample.headers.values()})
_DIALECTS: dict[str, Callable[[int], dict[str, str]]] = {
    "X-RateLimit, Unix time": lambda i: rest("5000", str(i), str(int(NOW) + i)),
    "GitHub": lambda i: {**rest("5000", str(i), SOON), "x-ratelimit-used": str(i), "x-ratelimit-resource": "core"},
    "draft 6": lambda i: {**rest("5000", str(i), str(i % 60), "RateLimit-"), "RateLimit-Policy": "5000;w=60"},
    "draft 8": lambda i: {"RateLimit": f'"default";r={i};t={i % 60}', "RateLimit-Policy": '"default";q=5000;w=60'},
    "draft 8 and X-RateLimit": lambda i: {
        "RateLimit": f'"default";r={i};t={i % 60}',
        "RateLimit-Policy": '"default";q=5000;w=60',
        **rest("5000", str(i), SOON),
    },
    "OpenAI": lambda i: {
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": str(i),
        "x-ratelimit-reset-tokens": f"1m{i % 60}s",
    },
}


class Hostility(NamedTuple):
    """What came out of reading hostile headers.

    Attributes:
        name: For the table.
        sets: How many header sets were read.
        quotas: How many quotas were found in them.
        exceptions: How many of them raised.
        growth: By how many bytes the peak of the process's resident memory rose after the first thousand sets.
        bar: The promise.
    """

    name: str
    sets: int
    quotas: int
    exceptions: int
    growth: int
    bar: str


def reading(*, quick: bool = False) -> list[Result]:
    """Measure what reading quotas costs."""
    bare = CaseInsensitiveDict(_ORDINARY)
    body = json.dumps({"data": [{"id": i, "name": "some name", "value": i / 7} for i in range(180)]}).encode()
    variants = [
        Variant("nothing", lambda: None),
        Variant("no quota", lambda: parse(bare, 200, NOW), bar=_NONE),
        *(variant for name, dialect in _DIALECTS.items() for variant in _pair(name, dialect)),
        Variant("10 KB of JSON, refused?", lambda: throttled(bare, 200, body, NOW), bar=_BODY),
        Variant("10 KB of JSON, quotas?", lambda: parse_body(body)),
    ]
    return compare(variants, rounds=3 if quick else 60, batch=50 if quick else 1000)


def _pair(name: str, dialect: Callable[[int], dict[str, str]]) -> Iterator[Variant]:
    sets = [CaseInsensitiveDict({**_ORDINARY, **dialect(i)}) for i in range(_DIFFERENT)]
    again, new = sets[0], cycle(sets)
    yield Variant(f"{name}, new", lambda: parse(next(new), 200, NOW), bar=_NEW)
    yield Variant(f"{name}, the same", lambda: parse(again, 200, NOW), bar=_SAME)


def hostile(*, quick: bool = False) -> list[Hostility]:
    """Read random hostile headers, and count what should not happen."""
    source = random.Random(1)
    count = 20_000 if quick else 1_000_000
    quotas = exceptions = before = 0
    for index in range(count):
        if index == _WARM:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            quotas += _read(source)
        except Exception:  # noqa: BLE001
            exceptions += 1
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return [Hostility("hostile header sets", count, quotas, exceptions, growth, "0 exceptions, ≤ 32 MB")]


def _read(source: random.Random) -> int:
    headers = {_name(source): _value(source) for _ in range(source.randint(1, 6))}
    status = source.choice((200, 403, 429, 503))
    found = parse(headers, status, source.choice((0.0, NOW, -1.0, 1e308)))
    throttled(headers, status, _value(source).encode("utf-8", "replace")[:2000], NOW)
    return len(found)


def _name(source: random.Random) -> str:
    name = source.choice(_NAMES)
    return name if source.random() < 0.9 else name[: source.randint(0, len(name))] + str(source.random())


def _value(source: random.Random) -> str:
    kind = source.random()
    if kind < 0.3:
        return source.choice(_VALUES)
    if kind < 0.5:
        return source.choice(NASTY)
    first, second = source.choice(_VALUES), source.choice(_VALUES if kind < 0.8 else NASTY)
    spliced = first[: source.randint(0, len(first))] + second[source.randint(0, len(second)) :]
    return spliced * source.randint(1, 3) if len(spliced) < 2000 else spliced

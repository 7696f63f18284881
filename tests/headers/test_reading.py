"""From headers to distinct quotas: what comes twice, what is remembered, what is loaded when."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

import polvo_adapters
from polvo_adapters import headers
from polvo_adapters.headers import Quota, parse, reading
from tests.support.header_samples import NOW, SOON, rest

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


class Lines(Mapping[str, str]):
    """Headers whose lines are not joined, as in the pool below requests."""

    def __init__(self, *lines: tuple[str, str]) -> None:
        self.lines = lines

    def __getitem__(self, name: str) -> str:
        return next(value for each, value in self.lines if each == name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def items(self) -> list[tuple[str, str]]:
        return list(self.lines)


def test_several_lines_of_one_field_are_one_list() -> None:
    lines = Lines(
        ("RateLimit-Policy", '"a";q=10'),
        ("RateLimit", '"a";r=1'),
        ("ratelimit-policy", '"b";q=20'),
        ("RateLimit", '"b";r=2'),
    )
    joined = {"RateLimit-Policy": '"a";q=10, "b";q=20', "RateLimit": '"a";r=1, "b";r=2'}
    got = parse(lines, 200, NOW)
    assert [(quota.name, quota.limit, quota.remaining) for quota in got] == [("a", 10, 1), ("b", 20, 2)]
    assert got == parse(joined, 200, NOW)


def test_what_is_remembered_counts_from_now() -> None:
    headers = rest("10", "5", SOON)
    assert [parse(headers, 200, NOW + later)[0].reset for later in (0, 10, 20.5)] == [60.0, 50.0, 39.5]


def test_request_ids_do_not_keep_a_header_set_from_being_remembered() -> None:
    parse({**rest("10", "5", SOON), "X-Okta-Request-Id": "1"}, 200, NOW)
    before = reading._read_cached.cache_info()
    parse({**rest("10", "5", SOON), "X-Okta-Request-Id": "2", "Date": DATE}, 200, NOW)
    after = reading._read_cached.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 0)


def test_the_status_counts_for_what_is_remembered() -> None:
    headers = rest("0", "0", SOON, "X-Rate-Limit-")
    assert parse(headers, 200, NOW)[0].unit == "requests"
    assert parse(headers, 429, NOW)[0].unit == "concurrent-requests"
    assert parse(headers, 403, NOW)[0].unit == "requests"


@pytest.mark.parametrize("text", ['"a";r=5;t=3', '"a"; r=5; t=3', '"a";r=5', '"a";r=0;t=0'])
def test_the_quick_way_for_draft_8_reads_what_the_long_way_reads(text: str) -> None:
    assert parse({"RateLimit": text}, 200, NOW) == parse({"RateLimit": text + ";x=1"}, 200, NOW)


@pytest.mark.parametrize("text", ["limit=10, remaining=5, reset=3", "limit=10,remaining=0,reset=0"])
def test_the_quick_way_for_draft_7_reads_what_the_long_way_reads(text: str) -> None:
    assert parse({"RateLimit": text}, 200, NOW) == parse({"RateLimit": text + ", x=1"}, 200, NOW)


def test_other_windows_are_other_quotas() -> None:
    both = {
        **rest("100", "99", "30", "RateLimit-"),
        "RateLimit-Policy": "100;w=3600",
        "X-RateLimit-Limit-Minute": "100",
    }
    assert {(quota.limit, quota.window) for quota in parse(both, 200, NOW)} == {(100, 3600), (100, 60)}


def test_nothing_announced_is_nothing() -> None:
    assert parse({}) == []
    assert parse({"Date": DATE, "Content-Type": "text/html"}) == []
    assert parse({"X-GitHub-Request-Id": "1", "X-RateLimit-NearLimit": "false"}) == []


def test_defaults_are_those_of_a_quota_about_which_nothing_is_known() -> None:
    assert Quota() == ("", None, None, None, None, "requests", "", 1.0, 0.0, "", "")


def test_every_name_is_loaded_when_it_is_first_used() -> None:
    loaded = "sorted(n for n in sys.modules if n.startswith('polvo_adapters.headers.'))"
    code = (
        "import sys; import polvo_adapters as polvo; polvo.headers.retry_after({}, 0.0);"
        f"print({loaded}); print('json' in sys.modules); polvo.headers.parse({{}}); print(len({loaded}) > 5)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:3] == ["['polvo_adapters.headers.times']", "False", "True"]


def test_public_names() -> None:
    assert polvo_adapters.headers is headers
    assert set(headers.__all__) <= set(dir(headers))
    assert all(getattr(headers, name) is not None for name in headers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'parsed'"):
        headers.parsed  # noqa: B018

"""Every dialect that the documentation lists, from real samples to numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx
import pytest
from requests.structures import CaseInsensitiveDict

from polvo_adapters.headers import parse
from tests.support.header_samples import ALL, NOW, Sample

MAPPINGS: list[Callable[[dict[str, str]], Mapping[str, str]]] = [
    CaseInsensitiveDict,
    httpx.Headers,
    dict,
    lambda headers: {name.lower(): value for name, value in headers.items()},
    lambda headers: {name.upper(): value for name, value in headers.items()},
]


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: sample.name)
def test_samples(sample: Sample) -> None:
    got = parse(sample.headers, sample.status, NOW)
    assert [_round(quota) for quota in got] == [_round(quota) for quota in sample.quotas]


@pytest.mark.parametrize("mapping", MAPPINGS, ids=["requests", "httpx", "dict", "lower", "upper"])
@pytest.mark.parametrize("sample", ALL, ids=lambda sample: sample.name)
def test_every_mapping_gives_the_same(sample: Sample, mapping: Callable[..., Mapping[str, str]]) -> None:
    expected = parse(sample.headers, sample.status, NOW)
    assert parse(mapping(sample.headers), sample.status, NOW) == expected


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: sample.name)
def test_ordinary_headers_around_them_change_nothing(sample: Sample) -> None:
    around = {"Content-Type": "text/html", **sample.headers, "ETag": '"1"', "X-Request-Id": "17"}
    assert parse(around, sample.status, NOW) == parse(sample.headers, sample.status, NOW)


def _round(quota: tuple[object, ...]) -> list[object]:
    return [round(value, 3) if isinstance(value, float) else value for value in quota]

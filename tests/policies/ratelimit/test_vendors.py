"""Every vendor of the tables, and some that are in none: never refused while quota is left, never idle either."""

from __future__ import annotations

import pytest

from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.account import make_account
from polvo_adapters.stores.codec import Undecodable, decode_state, encode
from polvo_adapters.testing.limiters import TokenBucketLimiter
from polvo_adapters.testing.simulation.crowd import CrowdClient, run
from tests.support.quota_vendors import ALIGNED, FIXED, VENDORS, Vendor, VendorServer, windows

CROWDS = {
    "one": [CrowdClient(4)],
    "many": [CrowdClient(32)],  # eight processes over one store are one client, with the slots of eight
    "apart": [CrowdClient(4)] * 8,
}


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_the_quota_of_a_vendor_is_used_and_hardly_a_request_is_refused(vendor: Vendor, crowd: str) -> None:
    least, most = getattr(vendor, crowd)
    settled = run(VendorServer(vendor), CROWDS[crowd], [AdaptiveRateLimit(max_wait=1e9)], vendor.windows).over(
        vendor.settled
    )
    assert settled.goodput >= least
    assert 100 * settled.rejected_part <= most


@pytest.mark.parametrize("clients", [1, 3, 20])
@pytest.mark.parametrize("rate", [0.2, 5.0])
def test_clients_that_are_told_one_rate_for_all_of_them_find_their_parts(rate: float, clients: int) -> None:
    vendor = Vendor(
        "a rate",
        lambda: [TokenBucketLimiter(100, 100 / rate, 10)],
        lambda standings, wall: {"x-amzn-RateLimit-Limit": rate},
        retry_after=False,
    )
    server = VendorServer(vendor)
    settled = run(server, [CrowdClient(4)] * clients, [AdaptiveRateLimit(max_wait=1e9)], windows=20).over(10)
    assert settled.goodput >= 0.9
    assert 100 * settled.rejected_part <= 3


DAY = Vendor(
    "a minute and a day",
    windows(ALIGNED, 60, 60.0, (ALIGNED, 600, 86400.0)),
    lambda s, wall: {
        "RateLimit-Policy": '"minute";q=60;w=60, "day";q=600;w=86400',
        "RateLimit": f'"minute";r={s[0].remaining};t={s[0].reset}, "day";r={s[1].remaining};t={s[1].reset}',
    },
)


@pytest.mark.parametrize("crowd", CROWDS)
def test_the_quota_of_a_day_is_spent_as_fast_as_that_of_a_minute_allows(crowd: str) -> None:
    first = run(VendorServer(DAY), CROWDS[crowd], [AdaptiveRateLimit(max_wait=1e9)], windows=14).over(0)
    assert first.accepted >= 0.97 * 600
    assert first.rejected <= 0.02 * 600


@pytest.mark.parametrize("crowd", CROWDS)
def test_the_quota_of_a_day_is_spread_where_the_caller_asks_for_it(crowd: str) -> None:
    even = AdaptiveRateLimit(pace="even", max_wait=1e9)
    result = run(VendorServer(DAY), CROWDS[crowd], [even], windows=60)
    assert 15 <= result.over(0).accepted <= 90
    assert result.over(0).rejected == 0


CUT = {
    "seconds that are cut off": lambda left, wall: int(left),
    "seconds that are rounded": lambda left, wall: round(left),
    "a moment that is cut off": lambda left, wall: int(wall + left),
}


@pytest.mark.parametrize("cut", CUT)
def test_a_server_that_cuts_off_parts_of_seconds_refuses_once(cut: str) -> None:
    vendor = Vendor(
        cut,
        windows(FIXED, 50, 10.0),
        lambda s, wall: {
            "X-RateLimit-Limit": 50,
            "X-RateLimit-Remaining": s[0].remaining,
            "X-RateLimit-Reset": CUT[cut](s[0].seconds_left, wall),
        },
    )
    result = run(VendorServer(vendor), CROWDS["one"], [AdaptiveRateLimit(max_wait=1e9)], windows=14)
    assert result.over(3).goodput >= 0.98
    assert result.over(0).rejected <= 1


def test_an_account_of_an_earlier_version_can_be_read() -> None:
    account, limit = make_account(), AdaptiveRateLimit()
    for cut in (None, (("day", "", "requests", None, "*"),)):
        if cut:
            account["cut"] = cut
        assert decode_state(encode(account), limit) == account
    with pytest.raises(Undecodable):
        decode_state(encode({**account, "cut": 1}), limit)

"""Every vendor of the tables, and some that are in none: never refused while quota is left, never idle either."""

from __future__ import annotations

import pytest

from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.testing.simulation.crowd import CrowdClient, run
from tests.support.quota_vendors import VENDORS, Vendor, VendorServer

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

"""What the keys of a tenant's state end with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.state_keys import of_tenant


def test_a_key_ends_with_its_tenant() -> None:
    assert of_tenant("acme") == " of tenant acme"
    assert of_tenant("a of tenant b/\n") == " of tenant a%20of%20tenant%20b%2F%0A"
    assert of_tenant("") == ""


@given(st.text(min_size=1), st.text(min_size=1), st.text(), st.text())
def test_no_two_tenants_have_keys_in_common(one: str, another: str, key: str, other: str) -> None:
    if one != another:
        assert key + of_tenant(one) != other + of_tenant(another)


@given(st.text(st.characters(codec=None)))
def test_any_text_will_do(tenant: str) -> None:
    of_tenant(tenant).encode("ascii")

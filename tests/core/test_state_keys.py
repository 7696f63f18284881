"""What the keys of a tenant's state end with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.state_keys import of_tenant, without_paths


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


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("circuit https://api.example.com", "circuit https://api.example.com"),
        ("token https://id.example.com/acme/token 'acme' app", "token https://id.example.com 'acme' app"),
        ("token https://user:hunter2@id.example.com/token x", "token https://id.example.com x"),
        ("token https://id.example.com?key=hunter2#hunter2", "token https://id.example.com"),
        ("a https://a.example/1, b http://b.example:8080/2", "a https://a.example b http://b.example:8080"),
        ("token https://[::1]:8443/token", "token https://[::1]:8443"),
        ("idempotency key 0123", "idempotency key 0123"),
        ("token cache /var/lib/app", "token cache /var/lib/app"),
    ],
)
def test_a_key_is_shown_without_paths_queries_and_credentials(key: str, shown: str) -> None:
    assert without_paths(key) == shown

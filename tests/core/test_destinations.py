"""What of a query goes to another server."""

from __future__ import annotations

import pytest

from polvo_adapters.core.destinations import select_parameters


@pytest.mark.parametrize("query", ["fields=id;name&limit=1", "page=1&sort=a;limit=2", "page=1", "page=1&&limit=2"])
def test_a_query_of_which_nothing_is_left_out_goes_as_it_is(query: str) -> None:
    assert select_parameters(query, frozenset(), None) == (query, ())


def test_a_credential_behind_a_semicolon_is_found() -> None:
    assert select_parameters("page=1;secret=2", frozenset(), frozenset())[1] == ("secret",)
    assert select_parameters("page=1;secret=2&limit=3", frozenset({"secret"}), frozenset()) == ("page=1&limit=3", ())

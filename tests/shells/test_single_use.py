"""Which signatures may be sent once."""

from __future__ import annotations

import pytest

from polvo_adapters.shells.single_use import is_single_use


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ('OAuth oauth_consumer_key="k", oauth_nonce="1", oauth_signature="s"', True),
        (b'OAuth oauth_nonce="1"', True),
        ('oauth realm="x",\toauth_nonce="1"', True),
        ('Hawk id="k", ts="1", nonce="a", mac="m"', True),
        ('MAC id="k", nonce="1:a", mac="m"', True),
        ('OAuth oauth_consumer_key="k", oauth_signature_method="PLAINTEXT"', False),
        ("OAuth some-token", False),
        ('Digest username="u", nonce="of the server", cnonce="c"', False),
        ("AWS4-HMAC-SHA256 Credential=k/20260101/r/s/aws4_request, SignedHeaders=host, Signature=s", False),
        ("Bearer oauth_nonce=1", False),
        ("", False),
        (b"\xff\xfe", False),
    ],
)
def test_a_nonce_of_the_client_may_be_sent_once(authorization: str | bytes, expected: bool) -> None:
    assert is_single_use(authorization) is expected

"""A secret is hidden wherever it is, and a short one, as tests have it, not within the words of a message."""

from __future__ import annotations

import pytest

from polvo_adapters.redaction import mask_secret

LONG = "ck_live_customer_1"
TEXT = "GET track.example.com: check the host in the URL, look at the key"


@pytest.mark.parametrize("secret", ["k", "a", "t", "e", "key5", "the5", "host5", ".", "ra"])
def test_a_short_secret_leaves_the_words_of_a_message(secret: str) -> None:
    masked = mask_secret(TEXT, secret, "[x]")
    assert [word for word in TEXT.split() if word.isalpha() and word != secret] == [
        word for word in masked.split() if word.isalpha()
    ]


@pytest.mark.parametrize("secret", ["k", "test", "geheim7", LONG])
@pytest.mark.parametrize(
    "form",
    [
        *("{}", "key={}", '["key", "{}"]', "key {}.", "({})", "a={}&b={}", "-{}-", "_{}_", "ü{}ü", "{},{}"),
        *("%20{}", "q%3D{}%26", "%2520{}", r"x\n{}\n", r"x\t{}", r"\x00{}", r"\u0022{}\u0022"),
    ],
)
def test_a_secret_that_stands_by_itself_is_hidden(form: str, secret: str) -> None:
    text = form.replace("{}", secret)
    assert mask_secret(text, secret, "[x]") == form.replace("{}", "[x]")
    assert mask_secret(text.encode(), secret, "[x]") == form.replace("{}", "[x]").encode()


@pytest.mark.parametrize("form", ["a{}b", "1{}", "{}{}", "Bearer{}"])
def test_a_real_secret_is_hidden_within_a_word_too(form: str) -> None:
    assert LONG not in mask_secret(form.replace("{}", LONG), LONG, "[x]")


@pytest.mark.parametrize("secret", ["/k/", "+ab=", "ab+/c=", "=k="])
def test_a_secret_ends_at_a_sign_of_its_own(secret: str) -> None:
    text = f"https://host{secret}" if secret[0] in "/+=" else f"https://host/{secret}"
    text += "more" if secret[-1] in "/=" else ""
    assert secret not in mask_secret(text, secret, "[x]")


def test_a_secret_is_no_pattern_and_nothing_is_hidden_for_none() -> None:
    assert mask_secret("a.c abc", "a.c", r"\1") == r"\1 abc"
    assert mask_secret("abc", "", "[x]") == "abc"
    assert mask_secret("grüße ä".encode(), "ä", "[x]") == "grüße [x]".encode()

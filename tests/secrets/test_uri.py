"""Secrets by URI: what each names, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets import File, Secret, Vault
from polvo_adapters.secrets.uri import parse_uri


@pytest.mark.parametrize(
    ("uri", "scheme", "name", "field"),
    [
        ("env://DB_Password", "env", "DB_Password", None),
        ("ENV://DB_Password#a%20b", "env", "DB_Password", "a b"),
        ("file:///run/secrets/db", "file", "/run/secrets/db", None),
        ("file://localhost/run/db#user", "file", "/run/db", "user"),
        ("dotenv:///srv/.env#NAME", "dotenv", "/srv/.env", "NAME"),
        ("vault://secret/data/app#password", "vault", "secret/data/app", "password"),
        ("vault://secret/data/app?version=3#a#b", "vault", "secret/data/app", "a#b"),
        ("aws-secretsmanager://prod/db#password", "aws-secretsmanager", "prod/db", "password"),
        ("aws-secretsmanager://arn:aws:secretsmanager:eu-1:12:secret:db-x", "aws-secretsmanager", None, None),
        ("aws-secretsmanager://a%40b", "aws-secretsmanager", "a@b", None),
        ("aws-ssm:///prod/db/password", "aws-ssm", "/prod/db/password", None),
        ("aws-ssm://plain", "aws-ssm", "plain", None),
        ("keyring://service/ada@example.com", "keyring", "service/ada@example.com", None),
        ("double-o://", "double-o", "", None),
        ("double-o://secrets.example.com/", "double-o", "secrets.example.com", None),
    ],
)
def test_what_a_uri_names(uri: str, scheme: str, name: str | None, field: str | None) -> None:
    source = parse_uri(uri)
    expected = uri.partition("://")[2] if name is None else name
    assert (source.provider.scheme, source.name, source.field) == (scheme, expected, field)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("vualt://secret/data/app", "unknown scheme 'vualt'"),
        ("https://example.com", "unknown scheme 'https'"),
        ("vault://", "names no secret"),
        ("env://", "names no secret"),
        ("aws-ssm:///", "names no secret"),
        ("file://run/secrets/db", "absolute path"),
        ("file://", "absolute path"),
        ("dotenv://host/.env#A", "absolute path"),
        ("vault://a/b?verison=3", "no setting 'verison'"),
        ("vault://a/b?version=last", "version"),
        ("env://A?b=c", "no setting 'b'"),
        ("env://A%00B", "control character"),
        ("vault://a/b#c%0Ad", "control character"),
        ("vault//a", "expected a URI"),
    ],
)
def test_what_is_refused_is_named(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Secret(uri)


@pytest.mark.parametrize("uri", ["vault://root:hunter2@host/secret", "env://hunter2@x", "nope://u:hunter2@h/p"])
def test_a_password_in_a_uri_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Secret(uri)
    assert "user or password" in str(caught.value)
    assert "hunter2" not in repr(caught.value)


def test_settings_that_contradict_each_other() -> None:
    vault = Vault("https://vault.example.com", "t")
    for attempt in (
        lambda: Secret("vault://a/b#c", field="d"),
        lambda: Secret("vault://a/b?version=2", provider=vault),
        lambda: Secret("env://A", provider=vault),
        lambda: Secret("env://A", "name"),
        lambda: Secret(vault, "a/b", provider=File()),
        lambda: Vault(token="t", role_id="r", secret_id="s"),
        lambda: Vault(role_id="r"),
        lambda: Vault(kv=3),
        lambda: Vault("http://vault.example.com"),
        lambda: Vault("https://u:p@vault.example.com"),
        lambda: Vault(timeout=0),
    ):
        with pytest.raises(ConfigurationError):
            attempt()
    assert Secret("vault://a/b#c", field="c", provider=vault).source.provider is vault


@given(st.one_of(st.text(), st.from_regex(r"(env|file|vault|aws-ssm|keyring|double-o)://[^#]*(#.*)?", fullmatch=True)))
def test_whatever_the_uri_it_is_a_source_or_refused(uri: str) -> None:
    try:
        source = parse_uri(uri)
    except ConfigurationError:
        return
    assert str(source).startswith(f"{source.provider.scheme}://")
    assert repr(Secret(uri)) == f"<Secret {source}>"

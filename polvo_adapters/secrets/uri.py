"""Secrets by URI: which provider, which name, which field.

    URI                                        what it names
    -----------------------------------------  ---------------------------------------------------------------------
    env://NAME                                 an environment variable
    file:///run/secrets/db_password            a file, as Docker and Kubernetes mount secrets
    dotenv:///srv/app/.env#NAME                a line of a `.env` file
    vault://secret/data/app#password           OpenBao or Vault: a path of the API; VAULT_ADDR and VAULT_TOKEN are read
    aws-secretsmanager://prod/db#password      AWS Secrets Manager: a name or an ARN
    aws-ssm:///prod/db/password                AWS Systems Manager Parameter Store
    keyring://service/user                     the keyring of the operating system
    double-o://                                a Double-O service; the token from DOUBLE_O_TOKEN

The fragment names a field, where the secret is a JSON object. What stands for something else in a URI is
percent-encoded (RFC 3986 section 2.1). What comes before an `@` in an authority is a place for passwords; such a URI is
refused, and not shown.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import Provider, Source

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^?#]*)(?:\?([^#]*))?(?:#(.*))?\Z", re.DOTALL)
_QUERIES = {"vault": ("version",), "aws-secretsmanager": ("version_id", "version_stage")}


def parse_uri(uri: str, field: str | None = None, provider: Provider | None = None) -> Source:
    """Return what a URI names.

    Args:
        uri: The URI.
        field: Which field, where the URI names none.
        provider: Whom to ask in the place of the provider that the scheme stands for.

    Raises:
        ConfigurationError: It is no such URI.
    """
    match = _URI.match(uri) if isinstance(uri, str) else None
    if match is None:
        raise ConfigurationError("Secret: expected a URI such as vault://secret/data/app#password")
    scheme, rest, query, fragment = match[1].lower(), match[2], match[3] or "", match[4]
    if "@" in rest.partition("/")[0]:
        raise ConfigurationError(
            f"Secret: the {scheme} URI has a user or password in it; credentials of a provider do not belong into the "
            "URI. Write an @ that is part of a name as %40"
        )
    if scheme not in _MAKERS:
        raise ConfigurationError(f"Secret: unknown scheme {scheme!r}; expected one of {', '.join(sorted(_MAKERS))}")
    if any(ord(character) < 32 or ord(character) == 127 for character in unquote(rest) + unquote(fragment or "")):
        raise ConfigurationError(f"Secret: the {scheme} URI has a control character in it")
    settings = _settings(scheme, query)
    if provider is not None and (provider.scheme != scheme or settings):
        raise ConfigurationError(
            f"Secret: a {scheme} URI {'with settings ' if settings else ''}and provider={provider!r} do not go together"
        )
    named = unquote(fragment) if fragment else None
    if named is not None and field is not None and named != field:
        raise ConfigurationError(f"Secret: the URI names the field {named!r}, and field={field!r} another one")
    name, made = _MAKERS[scheme](rest, settings)
    return Source(made() if provider is None else provider, name, named or field)


def provider_class(module: str, name: str) -> Any:
    """Return a class of `polvo_adapters.secrets.providers`.

    It is looked up by name, when it is first used: providers are made of what is here, and bring libraries of their
    own.
    """
    return getattr(importlib.import_module(f"polvo_adapters.secrets.providers.{module}"), name)


def _settings(scheme: str, query: str) -> dict[str, str]:
    settings = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(settings) - set(_QUERIES.get(scheme, ())))
    if unknown:
        raise ConfigurationError(f"Secret: a {scheme} URI has no setting {unknown[0]!r}")
    return settings


def _required(scheme: str, rest: str, example: str) -> str:
    name = unquote(rest)
    if not name.strip("/"):
        raise ConfigurationError(f"Secret: the {scheme} URI names no secret; expected one such as {example}")
    return name


def _env(rest: str, _: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    return _required("env", rest, "env://DB_PASSWORD"), provider_class("environment", "Environment")


def _absolute(scheme: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not path:
        raise ConfigurationError(f"Secret: a {scheme} URI names an absolute path, as in {scheme}:///run/secrets/name")
    return unquote(slash + path)


def _file(rest: str, _: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    return _absolute("file", rest), provider_class("file", "File")


def _dotenv(rest: str, _: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    return _absolute("dotenv", rest), provider_class("file", "DotEnv")


def _vault(rest: str, settings: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    version = settings.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) < 10):
        raise ConfigurationError("Secret: version in a vault URI must be a whole number")
    name = _required("vault", rest, "vault://secret/data/app#password")
    return name, lambda: provider_class("vault", "Vault")(version=None if version is None else int(version))


def _secrets_manager(rest: str, settings: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    name = _required("aws-secretsmanager", rest, "aws-secretsmanager://prod/db#password")
    return name, lambda: provider_class("aws", "SecretsManager")(**settings)


def _parameter_store(rest: str, _: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    return _required("aws-ssm", rest, "aws-ssm:///prod/db/password"), provider_class("aws", "ParameterStore")


def _keyring(rest: str, _: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    return _required("keyring", rest, "keyring://service/user"), provider_class("keyring", "Keyring")


def _double_o(rest: str, _: dict[str, str]) -> tuple[str, Callable[[], Provider]]:
    host = rest.rstrip("/")
    return host, lambda: provider_class("double_o", "DoubleO")(**({"base_url": f"https://{host}"} if host else {}))


_MAKERS: dict[str, Callable[[str, dict[str, str]], tuple[str, Callable[[], Provider]]]] = {
    "aws-secretsmanager": _secrets_manager,
    "aws-ssm": _parameter_store,
    "dotenv": _dotenv,
    "double-o": _double_o,
    "env": _env,
    "file": _file,
    "keyring": _keyring,
    "vault": _vault,
}

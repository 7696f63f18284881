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

The fragment names a field, if the secret is a JSON object. Characters with a meaning in a URI are percent-encoded (RFC
3986 section 2.1). What comes before an `@` in an authority is a place for passwords; such a URI is refused, and not
shown.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import Provider, Source

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^?#]*)(?:\?([^#]*))?(?:#(.*))?\Z", re.DOTALL)


def parse_uri(uri: str, field: str | None = None, provider: Provider | None = None) -> Source:
    """Return the provider, name and field of a URI.

    Args:
        uri: The URI.
        field: Which field, if the URI names none.
        provider: The provider, in the place of the one of the scheme with default settings.

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
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"Secret: unknown scheme {scheme!r}; expected one of {', '.join(sorted(_SCHEMES))}")
    if any(ord(character) < 32 or ord(character) == 127 for character in unquote(rest) + unquote(fragment or "")):
        raise ConfigurationError(f"Secret: the {scheme} URI has a control character in it")
    settings = _parse_settings(scheme, query)
    if provider is not None and (provider.scheme != scheme or settings):
        raise ConfigurationError(
            f"Secret: a {scheme} URI {'with settings ' if settings else ''}and provider={provider!r} do not go together"
        )
    named = unquote(fragment) if fragment else None
    if named is not None and field is not None and named != field:
        raise ConfigurationError(f"Secret: the URI names the field {named!r}, and field={field!r} another one")
    name, keywords = _SCHEMES[scheme].parse(scheme, rest, settings)
    if provider is None:
        provider = provider_class(*_SCHEMES[scheme].provider)(**keywords)
    return Source(provider, name, named or field)


def provider_class(module: str, name: str) -> Any:
    """Return a class of `polvo_adapters.secrets.providers`.

    It is imported when it is first used: providers import this package, and bring libraries of their own.

    Args:
        module: Name of its module there.
        name: Its name.
    """
    return getattr(importlib.import_module(f"polvo_adapters.secrets.providers.{module}"), name)


def _parse_settings(scheme: str, query: str) -> dict[str, str]:
    settings = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(settings) - set(_SCHEMES[scheme].settings))
    if unknown:
        raise ConfigurationError(f"Secret: a {scheme} URI has no setting {unknown[0]!r}")
    return settings


def _parse_name(scheme: str, rest: str, settings: dict[str, str]) -> tuple[str, dict[str, Any]]:
    name = unquote(rest)
    if not name.strip("/"):
        example = _SCHEMES[scheme].example
        raise ConfigurationError(f"Secret: the {scheme} URI names no secret; expected one such as {example}")
    version = settings.get("version")
    if version is None:
        return name, {**settings}
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        raise ConfigurationError(f"Secret: version in a {scheme} URI must be a whole number")
    return name, {**settings, "version": int(version)}


def _parse_absolute_path(scheme: str, rest: str, _: dict[str, str]) -> tuple[str, dict[str, Any]]:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not path:
        raise ConfigurationError(f"Secret: a {scheme} URI names an absolute path, as in {scheme}:///run/secrets/name")
    return unquote(slash + path), {}


def _parse_host(_: str, rest: str, __: dict[str, str]) -> tuple[str, dict[str, Any]]:
    host = rest.rstrip("/")
    return host, {"base_url": f"https://{host}"} if host else {}


class _Scheme(NamedTuple):
    """What a scheme stands for.

    Attributes:
        provider: Module and name of the class of its provider.
        parse: Returns the name of the secret and the keywords of the provider.
        example: A URI, for messages.
        settings: The settings that its query may have.
    """

    provider: tuple[str, str]
    parse: Callable[[str, str, dict[str, str]], tuple[str, dict[str, Any]]] = _parse_name
    example: str = ""
    settings: tuple[str, ...] = ()


_SCHEMES = {
    "aws-secretsmanager": _Scheme(
        ("aws", "SecretsManager"),
        example="aws-secretsmanager://prod/db#password",
        settings=("version_id", "version_stage"),
    ),
    "aws-ssm": _Scheme(("aws", "ParameterStore"), example="aws-ssm:///prod/db/password"),
    "dotenv": _Scheme(("file", "DotEnv"), _parse_absolute_path),
    "double-o": _Scheme(("double_o", "DoubleO"), _parse_host),
    "env": _Scheme(("environment", "Environment"), example="env://DB_PASSWORD"),
    "file": _Scheme(("file", "File"), _parse_absolute_path),
    "keyring": _Scheme(("keyring", "Keyring"), example="keyring://service/user"),
    "vault": _Scheme(("vault", "Vault"), example="vault://secret/data/app#password", settings=("version",)),
}

"""Secrets in AWS: Secrets Manager, and the Parameter Store of Systems Manager, through the library boto3.

Theory of operation. Credentials and region come from where boto3 finds them. It asks again by itself, in its "standard"
mode; the limits here keep that within the time of one fetch. A client is made once per process, of a session of its
own: boto3's common one is not safe to be used by several threads.

boto3 writes what it receives to its log at level DEBUG, secrets included. While it works for us those lines are
dropped.

Sources: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html,
https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import Fetched, call_without_leak, extract_field, library
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.shells.requests.urls import positive

_asking: ContextVar[bool] = ContextVar("asking", default=False)


class _AWS(BaseProvider):
    """What both services share.

    Args:
        region: The region; None for the one that boto3 finds.
        endpoint_url: Where the service is; None for AWS.
        client: A client of boto3, in the place of one made here.
        timeout: Seconds for a connection, and for one answer.
    """

    _service = ""

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        client: Any = None,
        timeout: float = 5.0,
    ) -> None:
        self._region, self._endpoint, self._given = region, endpoint_url, client
        self._timeout = positive("timeout", timeout)
        self._made: tuple[int, Any] | None = None

    def _asked(self, name: str, question: Callable[[Any], Any]) -> Any:
        client = self._client(name)

        def ask() -> Any:
            with _unlogged():
                return question(client)

        return call_without_leak(ask, lambda error: self._failure(name, error))

    def _client(self, name: str) -> Any:
        if self._given is not None:
            return self._given
        made = self._made
        if made is None or made[0] != os.getpid():
            made = self._made = (os.getpid(), self._new(name))  # a second one, made at the same time, does no harm
        return made[1]

    def _new(self, name: str) -> Any:
        boto3, config = library("boto3", "aws"), library("botocore.config", "aws")
        settings = config.Config(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        return call_without_leak(
            lambda: boto3.session.Session().client(
                self._service, region_name=self._region, endpoint_url=self._endpoint, config=settings
            ),
            lambda error: self._failure(name, error),
        )

    def _failure(self, name: str, error: Exception) -> Exception:
        kind = type(error).__name__
        if kind == "NoRegionError":
            return ConfigurationError("Secret: no AWS region is configured; set AWS_REGION, or region=")
        if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
            return self.failure(name, "denied", "boto3 finds no credentials; see that the role or profile is there")
        answer = getattr(error, "response", None)
        if isinstance(answer, dict):
            code = str(answer.get("Error", {}).get("Code", ""))[:64]
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            reason, advice = _meaning(code, status)
            return self.failure(name, reason, f"{advice} ({code})" if code.isalnum() else advice)
        if kind.endswith(("ConnectionError", "TimeoutError", "ConnectError", "ProxyConnectionError", "SSLError")):
            return self.failure(name, "unreachable", f"{kind}: check the region, endpoint, proxies and network")
        return self.failure(name, kind, f"{kind} was raised by boto3")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self._region is None else f' in {self._region}'}>"


class SecretsManager(_AWS):
    """Ask AWS Secrets Manager: `aws-secretsmanager://prod/db#password`.

    Args:
        version_id: Which version of the secret.
        version_stage: Which stage of it; "AWSCURRENT" where neither is given.
        region: The region; None for the one that boto3 finds.
        endpoint_url: Where the service is; None for AWS.
        client: A client of boto3, in the place of one made here.
        timeout: Seconds for a connection, and for one answer.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "aws-secretsmanager"
    _service = "secretsmanager"

    def __init__(self, *, version_id: str | None = None, version_stage: str | None = None, **keywords: Any) -> None:
        super().__init__(**keywords)
        which = {"VersionId": version_id, "VersionStage": version_stage}
        self._which = {name: value for name, value in which.items() if value is not None}

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a secret, or a field of the JSON in it; see `Provider.fetch`."""
        answer = self._asked(name, lambda client: client.get_secret_value(SecretId=name, **self._which))
        value = answer.get("SecretString")
        if value is None:
            value = _decoded(answer.get("SecretBinary"))
        return Fetched(extract_field(self.scheme, name, value, field))


class ParameterStore(_AWS):
    """Ask the Parameter Store of AWS Systems Manager: `aws-ssm:///prod/db/password`.

    Args:
        region: The region; None for the one that boto3 finds.
        endpoint_url: Where the service is; None for AWS.
        client: A client of boto3, in the place of one made here.
        timeout: Seconds for a connection, and for one answer.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "aws-ssm"
    _service = "ssm"

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a parameter, decrypted, or a field of the JSON in it; see `Provider.fetch`."""
        answer = self._asked(name, lambda client: client.get_parameter(Name=name, WithDecryption=True))
        return Fetched(extract_field(self.scheme, name, answer["Parameter"].get("Value"), field))


def _meaning(code: str, status: int) -> tuple[str, str]:
    if code in ("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"):
        return "not found", "check name, version, region and account"
    if "Throttl" in code or "TooManyRequests" in code or code.startswith("RequestLimit") or status == 429:
        return "unavailable", "AWS asks for fewer requests; fetch less often"
    if status >= 500 or code in ("InternalServiceError", "InternalServerError", "ServiceUnavailable"):
        return "unavailable", "the service failed; try again"
    if code == "InvalidRequestException":
        return "not found", "the secret is marked for deletion, or has no value in this stage"
    return "denied", "check the credentials and what they may read and decrypt"


def _decoded(value: object) -> str | None:
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


class _Unlogged(logging.Filter):
    """Drops what is logged while we ask."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        return not _asking.get()


_UNLOGGED = _Unlogged()


@contextmanager
def _unlogged() -> Iterator[None]:
    """Drop what boto3 logs below a warning's importance; its lines hold answers and signatures."""
    for name in list(logging.Logger.manager.loggerDict):
        if name.partition(".")[0] in ("boto3", "botocore") and isinstance(
            logger := logging.Logger.manager.loggerDict.get(name), logging.Logger
        ):
            logger.addFilter(_UNLOGGED)  # which does nothing where it is there already
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)

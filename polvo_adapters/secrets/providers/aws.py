"""Secrets in AWS: Secrets Manager, and the Parameter Store of Systems Manager, through the library boto3.

Theory of operation. Credentials and region come from where boto3 finds them. It retries by itself, in its "standard"
mode; the limits here keep that within the time of one fetch. A client is made once per process, from a session of its
own: boto3's default session is not safe for several threads.

boto3 logs what it receives at level DEBUG, secrets included. During a fetch those lines are dropped.

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
from polvo_adapters.secrets.provider import Fetched, extract_field, import_library
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.shells.urls import validate_seconds

_asking: ContextVar[bool] = ContextVar("asking", default=False)


class _AWS(BaseProvider):
    """What both services share; see them for the arguments."""

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
        self._timeout = validate_seconds("timeout", timeout)
        self._made: tuple[int, Any] | None = None

    def _ask_service(self, name: str, question: Callable[[Any], Any]) -> Any:
        client = self._client(name)

        def ask() -> Any:
            with _drop_debug_logs():
                return question(client)

        return self._ask(name, ask)

    def _client(self, name: str) -> Any:
        if self._given is not None:
            return self._given
        own = self._made
        if own is None or own[0] != os.getpid():
            # A second client that another thread makes at the same time does no harm.
            own = self._made = (os.getpid(), self._make_client(name))
        return own[1]

    def _make_client(self, name: str) -> Any:
        boto3, config = import_library("boto3", "aws"), import_library("botocore.config", "aws")
        settings = config.Config(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        return self._ask(
            name,
            lambda: boto3.session.Session().client(
                self._service, region_name=self._region, endpoint_url=self._endpoint, config=settings
            ),
        )

    def _translate(self, name: str, error: Exception) -> Exception:
        kind = type(error).__name__
        if kind == "NoRegionError":
            advice = "set AWS_DEFAULT_REGION (boto3 does not read AWS_REGION), or region="
            return ConfigurationError(f"Secret: no AWS region is configured; {advice}")
        if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
            return self.fetch_error(name, "denied", "boto3 finds no credentials; see that the role or profile is there")
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))[:64]
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            reason, advice = _classify(code, status)
            return self.fetch_error(name, reason, f"{advice} ({code})" if code.isalnum() else advice)
        if kind.endswith(("ConnectionError", "TimeoutError", "ConnectError", "ProxyConnectionError", "SSLError")):
            return self.fetch_error(
                name, "unreachable", f"no connection to AWS ({kind}); check region, endpoint, proxies and network"
            )
        return super()._translate(name, error)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self._region is None else f' in {self._region}'}>"


class SecretsManager(_AWS):
    """AWS Secrets Manager: `aws-secretsmanager://prod/db#password`.

    Args:
        version_id: Which version of the secret.
        version_stage: Which stage of it; "AWSCURRENT" if neither is given.
        region: The region; None for the one that boto3 finds.
        endpoint_url: URL of the service; None for AWS.
        client: A client of boto3, in the place of one made here.
        timeout: Seconds for a connection, and for one response.

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
        response = self._ask_service(name, lambda client: client.get_secret_value(SecretId=name, **self._which))
        value = response.get("SecretString")
        if value is None:
            value = _decode_binary(response.get("SecretBinary"))
        return Fetched(extract_field(self.scheme, name, value, field))


class ParameterStore(_AWS):
    """The Parameter Store of AWS Systems Manager: `aws-ssm:///prod/db/password`.

    Args:
        region: The region; None for the one that boto3 finds.
        endpoint_url: URL of the service; None for AWS.
        client: A client of boto3, in the place of one made here.
        timeout: Seconds for a connection, and for one response.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    scheme = "aws-ssm"
    _service = "ssm"

    def fetch(self, name: str, field: str | None) -> Fetched:
        """Return a parameter, decrypted, or a field of the JSON in it; see `Provider.fetch`."""
        response = self._ask_service(name, lambda client: client.get_parameter(Name=name, WithDecryption=True))
        return Fetched(extract_field(self.scheme, name, response["Parameter"].get("Value"), field))


def _classify(code: str, status: int) -> tuple[str, str]:
    """Return the reason for an error code of AWS, and what to do."""
    if code in ("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"):
        return "not found", "check name, version, region and account"
    if "Throttl" in code or "TooManyRequests" in code or code.startswith("RequestLimit") or status == 429:
        return "unavailable", "AWS asks for fewer requests; fetch less often"
    if status >= 500 or code in ("InternalServiceError", "InternalServerError", "ServiceUnavailable"):
        return "unavailable", "the service failed; try again"
    if code == "InvalidRequestException":
        return "not found", "the secret is marked for deletion, or has no value in this stage"
    return "denied", "check the credentials and what they may read and decrypt"


def _decode_binary(value: object) -> str | None:
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def _is_logged(_: logging.LogRecord) -> bool:
    return not _asking.get()


@contextmanager
def _drop_debug_logs() -> Iterator[None]:
    """Drop what boto3 logs meanwhile: its lines contain responses and signatures."""
    for name in list(logging.Logger.manager.loggerDict):
        if name.partition(".")[0] in ("boto3", "botocore") and isinstance(
            logger := logging.Logger.manager.loggerDict.get(name), logging.Logger
        ):
            logger.addFilter(_is_logged)  # does nothing if it is there already
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)

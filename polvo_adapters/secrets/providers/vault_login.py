"""The logins of OpenBao and Vault: what is posted, and where.

Theory of operation. Every login is a POST of some fields below `auth/`, and is answered by a token: what differs is
what the fields prove. Each kind of login here says where to post, and makes the fields anew for each login, because a
proof may be good for a short time only: the token of a Kubernetes service account is rotated, a signature of AWS has a
date.

Sources: https://openbao.org/api-docs/auth/, https://developer.hashicorp.com/vault/api-docs/auth/aws#login
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from polvo_adapters.core import paths
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets.provider import import_library
from polvo_adapters.secrets.providers.base import Credential, LeftBehind, resolve_credential

SERVICE_ACCOUNT_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"
"""Where Kubernetes puts the token of the service account of a pod."""

_OPEN_FIELDS = ("role",)
"""Fields that name something and prove nothing, so that pickles have them."""


class VaultLogin:
    """A login of OpenBao or Vault: the classmethods make those of the usual kinds.

    Args:
        path: Where the fields are posted to, such as "auth/userpass/login/ada".
        fields: The fields: each a text, or a function that returns it, such as a `Secret`.
        make_fields: A function that makes further fields at each login, where they belong together.

    Raises:
        ConfigurationError: The path is none below `auth/`, or a field is no text.
    """

    def __init__(
        self,
        path: str,
        fields: Mapping[str, Credential] | None = None,
        *,
        make_fields: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        path = path.strip("/")
        if not path.startswith("auth/") or paths.find_climb(path) or not all(path.split("/")):
            raise ConfigurationError(f"VaultLogin: {path!r} is no path of a login, such as auth/kubernetes/login")
        for name, value in (fields or {}).items():
            if not callable(value) and (not isinstance(value, str) or not value):
                raise ConfigurationError(f"VaultLogin: {name} must be a text, or a function that returns one")
        if not fields and make_fields is None:
            raise ConfigurationError("VaultLogin: a login needs fields")
        self.path = path
        self._fields = dict(fields or {})
        self._make_fields = make_fields

    @classmethod
    def approle(cls, role_id: Credential, secret_id: Credential, *, mount: str = "approle") -> VaultLogin:
        """Return the login of a machine by the id of a role, and its secret.

        Args:
            role_id: The id of the role.
            secret_id: Its secret, or a function that returns it.
            mount: Where the method is mounted.
        """
        return cls(f"auth/{mount}/login", {"role_id": role_id, "secret_id": secret_id})

    @classmethod
    def kubernetes(cls, role: str, *, jwt: Credential | None = None, mount: str = "kubernetes") -> VaultLogin:
        """Return the login of a pod by the token of its service account.

        Args:
            role: The role.
            jwt: The token, or a function that returns it; None for the file that Kubernetes puts it into, which is read
                at each login.
            mount: Where the method is mounted.
        """
        return cls(f"auth/{mount}/login", {"role": role, "jwt": _read_service_account if jwt is None else jwt})

    @classmethod
    def jwt(cls, role: str, jwt: Credential, *, mount: str = "jwt") -> VaultLogin:
        """Return the login by a JSON Web Token of an issuer that the server trusts, such as that of a CI job.

        Args:
            role: The role.
            jwt: The token, or a function that returns it, as it seldom lives long.
            mount: Where the method is mounted.
        """
        return cls(f"auth/{mount}/login", {"role": role, "jwt": jwt})

    @classmethod
    def aws(
        cls,
        role: str | None = None,
        *,
        region: str | None = None,
        server_id: str | None = None,
        session: Any = None,
        mount: str = "aws",
    ) -> VaultLogin:
        """Return the login by an identity of AWS IAM, whose credentials come from where boto3 finds them.

        A signed request for the caller's identity is posted, which the server sends to AWS.

        Args:
            role: The role; None for the one with the name of the identity.
            region: Region of the security token service; None for the global one. The server must use the same.
            server_id: Value of `X-Vault-AWS-IAM-Server-ID`, where the server requires that header.
            session: A session of boto3, in the place of one with default settings.
            mount: Where the method is mounted.
        """
        made = partial(_sign_identity_request, region, server_id, session)
        return cls(f"auth/{mount}/login", {} if role is None else {"role": role}, make_fields=made)

    def build_fields(self) -> dict[str, str]:
        """Return the fields to post now.

        Raises:
            ConfigurationError: A field is no text.
        """
        fields = {name: resolve_credential(value, "VaultLogin", name) for name, value in self._fields.items()}
        return fields if self._make_fields is None else {**fields, **self._make_fields()}

    def __getstate__(self) -> dict[str, Any]:
        kept = {
            name: value if callable(value) or name in _OPEN_FIELDS else LeftBehind("VaultLogin", name)
            for name, value in self._fields.items()
        }
        return {**vars(self), "_fields": kept}

    def __repr__(self) -> str:
        return f"<VaultLogin at {vars(self).get('path', 'a path')}>"


def _read_service_account() -> str:
    """Return the token of the service account of this pod, as it is now."""
    try:
        with open(SERVICE_ACCOUNT_FILE, encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        reason = error.strerror
    raise ConfigurationError(
        f"VaultLogin: {SERVICE_ACCOUNT_FILE} cannot be read ({reason}); outside of a pod, give the token as jwt="
    )


def _sign_identity_request(region: str | None, server_id: str | None, session: Any) -> dict[str, str]:
    """Return a signed request of sts:GetCallerIdentity, in the fields that the method `aws` takes."""
    boto3 = import_library("boto3", "aws")
    auth, awsrequest = import_library("botocore.auth", "aws"), import_library("botocore.awsrequest", "aws")
    credentials = (session or boto3.session.Session()).get_credentials()
    if credentials is None:
        raise ConfigurationError("VaultLogin: boto3 finds no credentials; see that the role or profile is there")
    host = "sts.amazonaws.com" if region is None else f"sts.{region}.amazonaws.com"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Host": host}
    if server_id is not None:
        headers["X-Vault-AWS-IAM-Server-ID"] = server_id
    body = "Action=GetCallerIdentity&Version=2011-06-15"
    request = awsrequest.AWSRequest(method="POST", url=f"https://{host}/", data=body, headers=headers)
    auth.SigV4Auth(credentials.get_frozen_credentials(), "sts", region or "us-east-1").add_auth(request)
    signed = {name: [value] for name, value in request.headers.items()}
    return {
        "iam_http_request_method": "POST",
        "iam_request_url": _encode(f"https://{host}/"),
        "iam_request_headers": _encode(json.dumps(signed)),
        "iam_request_body": _encode(body),
    }


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

"""A login server as those made with Django REST framework and simplejwt: a pair of JWTs for a name and a password.

It is no OAuth server: requests and answers are JSON, nothing says `expires_in`, and the life of a token is
in the token.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import jwt
from flask import Response, json, jsonify, request

from tests.support.oauth.threads import FlaskServer

if TYPE_CHECKING:
    from typing_extensions import Self

PASSWORDS = {"alice": "alice-password", "bob": "bob-pässword&=+"}


class JWTServer(FlaskServer):
    """Answers `{"username", "password"}` with `{"access", "refresh"}`, and `{"refresh"}` with `{"access"}`.

    A context manager with `login_url`, `refresh_url` and `api_url`; counts and controls are those of `OIDCProvider`,
    where `by_grant` counts `login` and `refresh`.

    Args:
        ttl: Life of an access token, whole seconds.
        refresh_ttl: Life of a refresh token, whole seconds.
        rotate: Whether a refresh gives a new refresh token as well, and ends the old one.
    """

    login_url = refresh_url = ""

    def __init__(self, *, ttl: int = 60, refresh_ttl: int = 86400, rotate: bool = False) -> None:
        super().__init__()
        self.ttl = {"access": ttl, "refresh": refresh_ttl}
        self.rotate = rotate
        self._key = secrets.token_bytes(32)
        self._issued: dict[str, str] = {}
        self._ended: set[str] = set()
        self.app.add_url_rule("/login", view_func=self._login, methods=["POST"])
        self.app.add_url_rule("/refresh", view_func=self._refresh, methods=["POST"])
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        self.app.add_url_rule("/api", "api", self._api, methods=methods)
        self.app.add_url_rule("/api/<path:below>", "below", self._api, methods=methods)

    def __enter__(self) -> Self:
        super().__enter__()
        self.login_url, self.refresh_url = f"{self.issuer}/login", f"{self.issuer}/refresh"
        return self

    def revoke(self, token: str | None = None, *, refresh: bool = False) -> None:
        """Make a token invalid, or without one all access tokens, with `refresh` the others too."""
        with self._lock:
            for name, kind in self._issued.items():
                if token is None and (refresh or kind == "access"):
                    self._ended.add(name)
            if token is not None:
                self._ended.add(jwt.decode(token, options={"verify_signature": False})["jti"])

    def _issue(self, kind: str, user: str) -> str:
        now, name = int(time.time()), secrets.token_hex(16)
        self._issued[name] = kind
        claims = {"token_type": kind, "iat": now, "exp": now + self.ttl[kind], "jti": name, "user_id": user}
        return jwt.encode(claims, self._key, "HS256")

    def _check(self, token: Any, kind: str) -> dict[str, Any] | None:
        """Return the claims of a valid token of this kind."""
        try:
            claims = jwt.decode(token, self._key, ["HS256"])
        except jwt.InvalidTokenError:
            return None
        return claims if claims["token_type"] == kind and claims["jti"] not in self._ended else None

    def _login(self) -> Response:
        def work() -> Response:
            given = read_fields()
            user = given.get("username")
            if user not in PASSWORDS or PASSWORDS[user] != given.get("password"):
                return refuse("No active account found with the given credentials")
            return jsonify(access=self._issue("access", user), refresh=self._issue("refresh", user))

        return self.answer("login", work)

    def _refresh(self) -> Response:
        def work() -> Response:
            claims = self._check(read_fields().get("refresh"), "refresh")
            if claims is None:
                return refuse("Token is invalid or expired", code="token_not_valid")
            answer = {"access": self._issue("access", claims["user_id"])}
            if self.rotate:
                self._ended.add(claims["jti"])
                answer["refresh"] = self._issue("refresh", claims["user_id"])
            return jsonify(answer)

        return self.answer("refresh", work)

    def _api(self, below: str = "") -> Response:
        body = request.get_data(as_text=True)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        claims = self._check(token, "access") if scheme == "Bearer" else None
        self.count_api(200 if claims else 401)
        if claims is None:
            return refuse("Given token not valid for any token type", code="token_not_valid")
        query = request.query_string.decode()
        return jsonify(method=request.method, path=request.path, query=query, body=body, subject=claims["user_id"])


def read_fields() -> dict[str, Any]:
    """Return what came, JSON or a form."""
    found = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    return found if isinstance(found, dict) else {}


def refuse(detail: str, **more: str) -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="api"'}
    return Response(json.dumps({"detail": detail, **more}), 401, headers, content_type="application/json")

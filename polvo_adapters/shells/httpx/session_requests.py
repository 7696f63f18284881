"""How an asynchronous session makes its requests: URLs, tenants, and where its credentials may go."""

from __future__ import annotations

from typing import Any

import httpx

from polvo_adapters.core.calls import origin
from polvo_adapters.shells.httpx.given_auth import as_httpx_auth
from polvo_adapters.shells.httpx.header_fields import find_field
from polvo_adapters.shells.httpx.session_keywords import DEFAULT, as_timeout, validate_base
from polvo_adapters.shells.httpx.url_reading import parse_as_httpx, read_url
from polvo_adapters.shells.httpx.verbs import AsyncVerbs
from polvo_adapters.shells.session_calls import SessionCalls
from polvo_adapters.shells.urls import make_absolute


class SessionRequests(SessionCalls, AsyncVerbs):
    """What an asynchronous session does before a request is sent, and with one that follows a redirect."""

    _base: str | None

    @property
    def base_url(self) -> httpx.URL:
        """The URL that relative URLs are appended to, as httpx has it: with a slash at its end."""
        return self._base_url

    @base_url.setter
    def base_url(self, url: httpx.URL | str) -> None:
        self._base = validate_base(url)
        self._base_url = self._enforce_trailing_slash(httpx.URL(self._base or ""))

    def build_request(self, method: str, url: httpx.URL | str, **keywords: Any) -> httpx.Request:
        """Build a request on behalf of its tenant; see `httpx.AsyncClient.build_request`."""
        with self._tenant_scope() as tenant:
            if keywords.get("timeout", DEFAULT) is not DEFAULT:
                keywords["timeout"] = as_timeout(keywords["timeout"])
            request = super().build_request(method, self._resolve(url, tenant), **keywords)
            has_credential = find_field(request.headers, b"authorization") is not None
            is_own = has_credential and "authorization" not in httpx.Headers(keywords.get("headers"))
            if is_own and not self._is_home(request.url, tenant):
                del request.headers["authorization"]  # that of the session
            if self.tenancy is not None and tenant and self._is_home(request.url, tenant):
                request.headers.update(self.tenancy.make_headers(tenant))
            return request

    def _resolve(self, url: httpx.URL | str, tenant: str) -> httpx.URL | str:
        if isinstance(url, httpx.URL):
            if url.is_absolute_url and self.tenancy is None:
                return url
            url = str(url)
        if self._base is None and self.tenancy is None:
            return read_url(url) if isinstance(url, str) else url
        absolute: Any = self._make_absolute(url, tenant)
        return read_url(self._add_tenant(absolute, tenant)) if isinstance(absolute, str) else absolute

    def _make_absolute(self, url: str, tenant: str) -> str:
        return make_absolute(url, self._base, tenant, self.tenancy, parse_as_httpx)

    def _add_tenant(self, url: str, tenant: str) -> str:
        return url if self.tenancy is None else self.tenancy.address(url, tenant, self._base, parse=parse_as_httpx)

    def _merge_headers(self, headers: Any = None) -> Any:
        return super()._merge_headers(headers) if headers else self._headers  # of which the request makes a copy

    def _is_home(self, url: httpx.URL, tenant: str) -> bool:
        """Return whether the credentials of the session may go to a URL."""
        base = self._base_url
        if self._base is None:
            return True
        if url.raw_host == base.raw_host and url.port == base.port and url.raw_scheme == base.raw_scheme:
            return True
        return self.tenancy is not None and self.tenancy.is_home(str(url), tenant, self._base, parse=parse_as_httpx)

    def _build_auth(self, auth: Any) -> httpx.Auth | None:
        return super()._build_auth(as_httpx_auth(auth))

    def _redirect_headers(self, request: httpx.Request, url: httpx.URL, method: str) -> httpx.Headers:
        """Return the headers of the request that follows a redirect; of those that leads elsewhere, what may go there.

        That is not the tenant, and not the credential for a proxy, which `requests` takes off as well.
        """
        headers = super()._redirect_headers(request, url, method)
        if origin(str(url)) != origin(str(request.url)):
            headers.pop("proxy-authorization", None)
            if self.tenancy is not None:
                self.tenancy.withdraw(headers)
                headers["Host"] = url.netloc.decode("ascii")
        return headers

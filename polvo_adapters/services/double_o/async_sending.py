"""The transport of a ServiceRequest in a task; as `polvo_adapters.services.double_o.sending`, on httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import requests

from polvo_adapters.auth.static import Bearer
from polvo_adapters.core.calls import find_host
from polvo_adapters.errors import PolvoError
from polvo_adapters.services.double_o.effects import ServiceRequest, ServiceResponse
from polvo_adapters.services.double_o.sending import FOLLOWED, Received, convert_error, convert_response, is_answer
from polvo_adapters.services.httpx_failures import classify_end
from polvo_adapters.shells.httpx.messages import read_content

if TYPE_CHECKING:
    from polvo_adapters.shells.httpx.session import AsyncSession

_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, PolvoError, OSError, ValueError)


async def send_async(session: AsyncSession, base_url: str, request: ServiceRequest) -> ServiceResponse:
    """Make one logical call, and return its response or its failure; as `send`."""
    host = find_host(base_url)
    try:
        response = await session.request(
            request.method,
            _add_params(base_url + request.path, request),
            content=request.body,
            headers=dict(request.headers),
            auth=Bearer(request.token) if request.token else None,
            follow_redirects=request.method in FOLLOWED,
        )
    except _ERRORS as error:
        found: httpx.Response | None = getattr(error, "response", None)
        if not is_answer(error) or found is None:
            received = None if found is None else _receive(found)
            return convert_error(error, classify_end(error), host, request.token, received)
        response = found
    return convert_response(_receive(response), host, request.token, session.clock.wall())


def _add_params(url: str, request: ServiceRequest) -> str:
    """Return a URL with the parameters of a request, as `requests` writes them."""
    return requests.Request("GET", url, params=dict(request.params)).prepare().url or url


def _receive(response: httpx.Response) -> Received:
    return Received(
        response.status_code,
        response.reason_phrase,
        str(response.url),
        [(name, value) for name, value in response.headers.multi_items()],
        read_content(response) or b"",
        response.elapsed.total_seconds() if response.is_closed and hasattr(response, "_elapsed") else 0.0,
        response.extensions.get("polvo"),
    )

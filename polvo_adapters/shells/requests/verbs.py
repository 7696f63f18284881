"""The types of the verbs of a session: those of `requests` take any keyword, but their types do not say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.policies.one_call import CallOptions

    class CommonOptions(CallOptions, total=False):
        """What all verbs take: the keywords of `requests`, and those of `polvo.call`."""

        headers: Mapping[str, Any] | None
        cookies: Any
        files: Any
        auth: Any
        allow_redirects: bool
        proxies: Any
        hooks: Any
        stream: bool | None
        verify: Any
        cert: Any

    class GetOptions(CommonOptions, total=False):
        """The keywords of GET, which takes `params` by position."""

        data: Any
        json: Any

    class BodyOptions(CommonOptions, total=False):
        """The keywords of POST, which takes data and JSON by position."""

        params: Any

    class DataOptions(BodyOptions, total=False):
        """The keywords of verbs that take data by position."""

        json: Any

    class RequestOptions(DataOptions, total=False):
        """The keywords of all other verbs."""

        data: Any

    class Verbs(requests.Session):
        """The verbs, with their keywords."""

        def get(self, url: str | bytes, params: Any = None, **keywords: Unpack[GetOptions]) -> requests.Response:
            """Send a GET request."""

        def options(self, url: str | bytes, **keywords: Unpack[RequestOptions]) -> requests.Response:
            """Send an OPTIONS request."""

        def head(self, url: str | bytes, **keywords: Unpack[RequestOptions]) -> requests.Response:
            """Send a HEAD request."""

        def post(
            self, url: str | bytes, data: Any = None, json: Any = None, **keywords: Unpack[BodyOptions]
        ) -> requests.Response:
            """Send a POST request."""

        def put(self, url: str | bytes, data: Any = None, **keywords: Unpack[DataOptions]) -> requests.Response:
            """Send a PUT request."""

        def patch(self, url: str | bytes, data: Any = None, **keywords: Unpack[DataOptions]) -> requests.Response:
            """Send a PATCH request."""

        def delete(self, url: str | bytes, **keywords: Unpack[RequestOptions]) -> requests.Response:
            """Send a DELETE request."""

else:
    Verbs = requests.Session

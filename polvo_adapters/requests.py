"""`import polvo_adapters.requests as requests`: every name of `requests`, resilient underneath.

Names, signatures, return values and exceptions are those of `requests`; only `Session`, `session` and the verbs are
ours, and differ only in the adapters that they mount. All other objects are the very same, submodules included, except
that `sessions` and `api` have our `Session` and verbs. What other code puts in the place of a name of `requests`, such
as a mock, is seen here too.
"""

# ruff: noqa: PLC0414 - type checkers take a name that is imported as itself for one that is exported

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from polvo_adapters.shells.requests.drop_in import show_requests

if TYPE_CHECKING:
    from requests import (
        ConnectionError,  # noqa: A004 - as `requests` names it
        ConnectTimeout,
        HTTPError,
        JSONDecodeError,
        PreparedRequest,
        ReadTimeout,
        Request,
        RequestException,
        Response,
        Timeout,
        TooManyRedirects,
        URLRequired,
        codes,
        packages,
        utils,
    )
    from requests import adapters as adapters
    from requests import api as api
    from requests import auth as auth
    from requests import certs as certs
    from requests import compat as compat
    from requests import cookies as cookies
    from requests import exceptions as exceptions
    from requests import hooks as hooks
    from requests import models as models
    from requests import sessions as sessions
    from requests import status_codes as status_codes
    from requests import structures as structures

    from polvo_adapters.shells.requests.drop_in import (
        Session,
        delete,
        get,
        head,
        options,
        patch,
        post,
        put,
        request,
        session,
    )

__all__ = [
    "ConnectTimeout",
    "ConnectionError",
    "HTTPError",
    "JSONDecodeError",
    "PreparedRequest",
    "ReadTimeout",
    "Request",
    "RequestException",
    "Response",
    "Session",
    "Timeout",
    "TooManyRedirects",
    "URLRequired",
    "codes",
    "delete",
    "get",
    "head",
    "options",
    "packages",
    "patch",
    "post",
    "put",
    "request",
    "session",
    "utils",
]

show_requests(sys.modules[__name__])

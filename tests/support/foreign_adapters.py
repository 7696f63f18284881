"""Adapters as public projects have them, written anew from what they do: every override and every idiom that was found.

Each notes what it did in `log`, which must be the same under this package as without it, request for request.
"""

from __future__ import annotations

import gzip
import io
import itertools
import ssl
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection
from urllib3.poolmanager import proxy_from_url
from urllib3.util import Timeout

log: list[Any] = []


class OwnContext(HTTPAdapter):
    """TLS settings by a context, for hosts and for proxies, as in hundreds of projects."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        log.append("init")
        keywords["ssl_context"] = ssl.create_default_context()
        return super().init_poolmanager(*args, **keywords)

    def proxy_manager_for(self, *args: Any, **keywords: Any) -> Any:
        log.append("proxy")
        keywords["ssl_context"] = ssl.create_default_context()
        return super().proxy_manager_for(*args, **keywords)


class ClassOfTheObject(HTTPAdapter):
    """The same by `super(self.__class__, self)`, as with client certificates that have a password."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        return super(self.__class__, self).init_poolmanager(*args, **keywords)

    def send(self, *args: Any, **keywords: Any) -> Any:
        log.append(self.__class__.__name__)
        return super(self.__class__, self).send(*args, **keywords)


class OwnManager(HTTPAdapter):
    """A pool manager of its own making, with the old signature."""

    def init_poolmanager(self, connections: Any, maxsize: Any, block: Any = False) -> None:  # type: ignore[override]
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, assert_hostname=False)


class SubclassedManager(HTTPAdapter):
    """A pool manager of a class of its own."""

    def init_poolmanager(self, connections: Any, maxsize: Any, block: Any = False, **keywords: Any) -> None:
        class Manager(PoolManager):
            def connection_from_host(self, *args: Any, **keywords: Any) -> Any:
                log.append("host")
                return super().connection_from_host(*args, **keywords)

        self.poolmanager = Manager(num_pools=connections, maxsize=maxsize, block=block, **keywords)


class PatchedManager(HTTPAdapter):
    """A pool manager with a method replaced in the object."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        super().init_poolmanager(*args, **keywords)
        below = self.poolmanager.connection_from_context

        def patched(context: Any) -> Any:
            log.append("context")
            return below(context)

        self.poolmanager.connection_from_context = patched  # type: ignore[method-assign]


class RotatingManagers(HTTPAdapter):
    """Another pool manager for every request, as for source addresses."""

    def __init__(self) -> None:
        super().__init__()
        managers = [PoolManager(num_pools=1, source_address=("127.0.0.1", 0)) for _ in range(3)]
        self.managers, self.turns = managers, itertools.cycle(managers)

    def send(self, *args: Any, **keywords: Any) -> Any:
        self.poolmanager = next(self.turns)
        response = super().send(*args, **keywords)
        log.append([len(manager.pools) for manager in self.managers])
        return response


class RotatingTwins(HTTPAdapter):
    """The same, where the managers differ in nothing, chosen where the pool is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.managers = [PoolManager(num_pools=1) for _ in range(2)]
        self.turns = itertools.cycle(self.managers)

    def get_connection_with_tls_context(self, *args: Any, **keywords: Any) -> Any:
        self.poolmanager = next(self.turns)
        log.append(self.managers.index(self.poolmanager))
        return super().get_connection_with_tls_context(*args, **keywords)


class RotatingSettings(HTTPAdapter):
    """Settings of the manager changed for every request."""

    count = 0

    def send(self, *args: Any, **keywords: Any) -> Any:
        type(self).count += 1
        self.poolmanager.connection_pool_kw["source_address"] = (f"127.0.0.{1 + self.count % 3}", 0)
        response = super().send(*args, **keywords)
        log.append(len(self.poolmanager.pools) > 1)
        return response


class InitPerRequest(HTTPAdapter):
    """New pools for every request, as for fresh ciphers."""

    def send(self, *args: Any, **keywords: Any) -> Any:
        before = self.poolmanager
        self.init_poolmanager(self._pool_connections, self._pool_maxsize)
        before.clear()
        log.append(before is not self.poolmanager)
        return super().send(*args, **keywords)


class HostHeader(HTTPAdapter):
    """The name of the certificate by the Host header, as in requests-toolbelt."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        settings = self.poolmanager.connection_pool_kw
        host = request.headers.get("Host")
        if host:
            settings["assert_hostname"] = settings["server_hostname"] = host
        else:
            settings.pop("assert_hostname", None)
            settings.pop("server_hostname", None)
        log.append(sorted(set(settings) & {"assert_hostname"}))
        return super().send(request, **keywords)


class Fingerprint(HTTPAdapter):
    """A pinned certificate, as in requests-toolbelt."""

    __attrs__ = [*HTTPAdapter.__attrs__, "fingerprint"]

    def __init__(self, fingerprint: str = "ab", **keywords: Any) -> None:
        self.fingerprint = fingerprint
        super().__init__(**keywords)

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        log.append(self.fingerprint)
        super().init_poolmanager(*args, assert_fingerprint=self.fingerprint, **keywords)


class SocketOptions(HTTPAdapter):
    """Options of sockets, as in requests-toolbelt."""

    def __init__(self, **keywords: Any) -> None:
        self.socket_options = keywords.pop("socket_options", HTTPConnection.default_socket_options)
        super().__init__(**keywords)

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        super().init_poolmanager(*args, socket_options=self.socket_options, **keywords)


class SourceAddress(HTTPAdapter):
    """A source address, also for proxies, as in requests-toolbelt."""

    __attrs__ = [*HTTPAdapter.__attrs__, "source_address"]

    def __init__(self, source_address: Any = ("127.0.0.1", 0), **keywords: Any) -> None:
        self.source_address = source_address
        super().__init__(**keywords)

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        keywords["source_address"] = self.source_address
        super().init_poolmanager(*args, **keywords)


class PinnedHost(HTTPAdapter):
    """Another host for the pool key."""

    def build_connection_pool_key_attributes(self, *args: Any, **keywords: Any) -> Any:
        host, settings = super().build_connection_pool_key_attributes(*args, **keywords)
        log.append(host["host"])
        return {**host, "host": "127.0.0.1"}, settings


class PinnedPool(HTTPAdapter):
    """Settings changed in the pool that was found."""

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        pool.conn_kw["source_address"] = ("127.0.0.1", 0)
        log.append(type(pool).__name__)
        return pool


class InstrumentedPool(HTTPAdapter):
    """A pool whose methods are wrapped once, as it is known from then on."""

    def __init__(self, **keywords: Any) -> None:
        self.known: set[Any] = set()
        super().__init__(**keywords)

    def get_connection_with_tls_context(self, *args: Any, **keywords: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **keywords)
        if pool not in self.known:
            self.known.add(pool)
            below = pool._get_conn
            pool._get_conn = lambda *args, **keywords: log.append("lent") or below(*args, **keywords)
        return pool


class OwnPools(HTTPAdapter):
    """Pools kept by itself, as for UNIX sockets, by the old and the new method."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.own: dict[Any, HTTPConnectionPool] = {}

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        parts = urlsplit(url)
        log.append(len(self.own))
        return self.own.setdefault(parts.netloc, HTTPConnectionPool(parts.hostname or "", parts.port))

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        return self.get_connection(request.url, proxies)

    def request_url(self, request: Any, proxies: Any) -> str:
        log.append("url")
        return str(request.path_url)

    def close(self) -> None:
        for pool in self.own.values():
            pool.close()
        super().close()


class OwnConnections(HTTPAdapter):
    """Connections of a class of its own, which asks for the class of the object."""

    def get_connection_with_tls_context(self, *args: Any, **keywords: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **keywords)
        pool.ConnectionCls = NotingConnection
        return pool


class NotingConnection(HTTPConnection):
    def connect(self) -> None:
        log.append("connect")
        super(self.__class__, self).connect()


class OwnUrl(HTTPAdapter):
    """Another request target."""

    def request_url(self, request: Any, proxies: Any) -> str:
        return super().request_url(request, proxies) + "?added=1"


class OwnHeaders(HTTPAdapter):
    """Headers added where `requests` leaves room for them."""

    def add_headers(self, request: Any, **keywords: Any) -> None:
        log.append(sorted(keywords))
        request.headers["X-Added"] = "1"


class OwnProxyHeaders(HTTPAdapter):
    """Headers for proxies."""

    def proxy_headers(self, proxy: Any) -> dict[str, str]:
        return {**super().proxy_headers(proxy), "X-Proxy": "1"}


class OwnResponses(HTTPAdapter):
    """Responses of a class of its own."""

    def build_response(self, req: Any, resp: Any) -> Any:
        response = super().build_response(req, resp)
        response.__class__ = MyResponse
        response.extra = "kept"  # type: ignore[attr-defined]
        return response


class MyResponse(requests.Response):
    """A response with more to it."""


class OwnVerification(HTTPAdapter):
    """Certificates verified in a way of its own."""

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        log.append(("verify", verify))
        super().cert_verify(conn, url, False, cert)


class ChangedKeywords(HTTPAdapter):
    """Keywords of `send` changed."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        log.append(sorted(keywords))
        return super().send(request, **{**keywords, "verify": False, "timeout": Timeout(5)})


class PositionalKeywords(HTTPAdapter):
    """All arguments handed on by position."""

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):  # type: ignore[no-untyped-def]
        return super().send(request, stream, timeout, verify, cert, proxies)


class DefaultTimeout(HTTPAdapter):
    """The recipe for a default timeout."""

    __attrs__ = [*HTTPAdapter.__attrs__, "timeout"]

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.timeout = keywords.pop("timeout", 9)
        super().__init__(*args, **keywords)

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        if keywords.get("timeout") is None:
            keywords["timeout"] = self.timeout
        log.append(keywords["timeout"])
        return super().send(request, **keywords)


class ConstantTimeout(HTTPAdapter):
    """The same with a constant."""

    def send(self, *args: Any, **keywords: Any) -> Any:
        keywords["timeout"] = keywords.get("timeout") or 9
        log.append(keywords["timeout"])
        return super().send(*args, **keywords)


class Signing(HTTPAdapter):
    """A signature over the request as it is."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        assert "X-Signature" not in request.headers
        request.headers["X-Signature"] = f"{request.method} {urlsplit(request.url).path}"
        return super().send(request, **keywords)


class RewrittenUrl(HTTPAdapter):
    """A scheme or a host of its own, replaced in the request, as for Kubernetes or a resolver."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        assert "/echo" in request.url
        request.url = request.url.replace("/echo", "/echo/rewritten")
        return super().send(request, **keywords)


class Compressing(HTTPAdapter):
    """Bodies compressed on the way."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        request.body = gzip.compress(request.body or b"", mtime=0)
        request.headers["Content-Length"] = str(len(request.body))
        log.append(gzip.decompress(request.body)[:2])
        return super().send(request, **keywords)


class Logging(HTTPAdapter):
    """A log of what is sent and received, on the object."""

    def __init__(self, **keywords: Any) -> None:
        self.sent: list[Any] = []
        super().__init__(**keywords)

    def send(self, *args: Any, **keywords: Any) -> Any:
        self.sent.append(args[0].method if args else "?")
        log.append(len(self.sent))
        return super().send(*args, **keywords)


class Pickled(HTTPAdapter):
    """Attributes that are kept by `__getstate__`."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.tag = keywords.pop("tag", "mine")
        super().__init__(*args, **keywords)

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), "tag": self.tag}

    def __setstate__(self, state: Any) -> None:
        self.tag = state.pop("tag")
        super().__setstate__(state)


class PassingOver(HTTPAdapter):
    """The constructor of HTTPAdapter called by name, which passes over what lies between."""

    def __init__(self, **keywords: Any) -> None:
        HTTPAdapter.__init__(self, **keywords)
        self.ready = True


class Slotted(HTTPAdapter):
    """An attribute by a slot."""

    __slots__ = ("tag",)

    def __init__(self) -> None:
        self.tag = "mine"
        super().__init__()


class PropertyPools(HTTPAdapter):
    """A pool manager made at its first use, as an attribute that is worked out."""

    _manager: Any = None

    @property
    def poolmanager(self) -> Any:  # type: ignore[override]
        return self._manager

    @poolmanager.setter
    def poolmanager(self, value: Any) -> None:
        log.append("set")
        self._manager = value


class Balancing(HTTPAdapter):
    """Adapters below this one, chosen in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.below = [HTTPAdapter(), HTTPAdapter()]
        self.turn = -1

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        self.turn += 1
        log.append(self.turn % 2)
        return self.below[self.turn % 2].send(request, **keywords)

    def close(self) -> None:
        for adapter in self.below:
            adapter.close()
        super().close()


class Caching(HTTPAdapter):
    """A cache, as in CacheControl, whose second answer comes from memory."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.cache: dict[str, tuple[int, bytes]] = {}

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        if request.url in self.cache:
            log.append("hit")
            status, body = self.cache[request.url]
            return make_response(request, status, body)
        response = super().send(request, **keywords)
        self.cache[request.url] = (response.status_code, response.content)
        return response


class Canned(BaseAdapter):
    """Answers of its own, as for files, data URLs and mocks."""

    def send(self, request: Any, **keywords: Any) -> Any:  # type: ignore[override]
        log.append(sorted(keywords))
        return make_response(request, 200, b"canned")

    def close(self) -> None:
        log.append("closed")


class CannedWithSettings(Canned):
    """The same with attributes that code sets from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.set_content_length = True
        self._private = 1


class ProxyByItself(HTTPAdapter):
    """A proxy manager of its own."""

    def proxy_manager_for(self, proxy: Any, **keywords: Any) -> Any:
        if proxy not in self.proxy_manager:
            log.append("made")
            self.proxy_manager[proxy] = proxy_from_url(proxy, num_pools=self._pool_connections)
        return self.proxy_manager[proxy]


def make_response(request: Any, status: int, body: bytes) -> requests.Response:
    """Return a response that no server has sent."""
    response = requests.Response()
    response.status_code, response.url, response.request = status, request.url, request
    response.raw = io.BytesIO(body)
    return response


ADAPTERS: list[type[BaseAdapter]] = [
    each
    for each in list(globals().values())
    if isinstance(each, type) and issubclass(each, BaseAdapter) and each.__module__ == __name__
]

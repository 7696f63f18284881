"""Flask with Flask-Limiter: a path for each strategy, and each quota that the tests need.

Clients are told apart by X-Key, so that every test finds a fresh quota.
"""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from flask_limiter import Limiter
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

STRATEGIES = {"fixed": "fixed-window", "moving": "moving-window"}


class Handler(WSGIRequestHandler):
    """Keeps connections open, as servers in production do, and writes no log."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *args: object) -> None:
        pass


def application(strategy: str) -> Flask:
    app = Flask(strategy)
    limiter = Limiter(
        lambda: request.headers.get("X-Key", "nobody"),
        app=app,
        strategy=STRATEGIES[strategy],
        headers_enabled=True,
        storage_uri="memory://",
    )

    @app.get("/3/60", endpoint="3/60")
    @limiter.limit("3 per 60 seconds")
    def three_per_minute() -> Response:
        return jsonify(ok=True)

    @app.get("/10/1", endpoint="10/1")
    @limiter.limit("10 per second")
    def ten_per_second() -> Response:
        return jsonify(ok=True)

    return app


if __name__ == "__main__":
    mounts = {f"/{strategy}": application(strategy) for strategy in STRATEGIES}
    server = make_server(
        "127.0.0.1", 0, DispatcherMiddleware(Flask("root"), mounts), threaded=True, request_handler=Handler
    )
    print(f"READY http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

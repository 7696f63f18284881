"""Fixtures with real secret stores, for every test; each starts when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.secret_servers import OpenBao, needed


@pytest.fixture(scope="session")
def bao_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("openbao")) as bao:
        yield bao


@pytest.fixture
def bao(bao_process: OpenBao, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenBao]:
    """Return an OpenBao server that is named in the environment; unsealed again afterwards."""
    monkeypatch.setenv("VAULT_ADDR", bao_process.address)
    monkeypatch.setenv("VAULT_TOKEN", bao_process.token)
    for name in ("VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_CAPATH"):
        monkeypatch.delenv(name, raising=False)
    yield bao_process
    bao_process.unseal()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the URL of a server that speaks as AWS does; it knows nothing at first."""
    server_module = needed("moto.server")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "the-key-of-the-tests",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    requests.post(f"{url}/moto-api/reset", timeout=10)  # it keeps what it knows as long as the process lives
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    yield url
    server.stop()

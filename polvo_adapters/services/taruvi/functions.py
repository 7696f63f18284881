"""Functions: code that runs on the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.errors import FunctionExecutionError
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, operation
from polvo_adapters.services.taruvi.responses import fetch_envelope, fetch_list, fetch_object


class Functions(Module[Mode_co]):
    """Functions of the app, and what became of their executions."""

    @operation
    def execute(
        self,
        function_slug: str,
        params: Mapping[str, Any] | None = None,
        app_slug: str | None = None,
        is_async: bool | None = None,
        timeout: float | None = None,
    ) -> Operation[dict[str, Any]]:
        """Execute a function, and return its answer.

        It is a POST: it is not sent again where the first may have been executed, unless the client has `idempotency`.

        Args:
            function_slug: The function.
            params: What it is called with.
            app_slug: The app that it belongs to; by default that of the client.
            is_async: Whether it runs in the background, and the answer is `["invocation"]["celery_task_id"]`.
            timeout: Seconds for this call in place of the client's timeout.

        Returns:
            The answer: what the function returned is in "data".
        """
        app = self._app if app_slug is None else f"/api/apps/{addresses.segment('app_slug', app_slug)}"
        slug = addresses.segment("function_slug", function_slug)
        given = {} if params is None else checks.require_mapping("params", params)
        body: dict[str, Any] = {"params": checks.require_json("params", given)}
        if is_async is not None or not self._is_current:
            body["async"] = is_async is not None and checks.require_flag("is_async", is_async)
        if timeout is not None:
            timeout = checks.require_seconds("timeout", timeout)
        return (yield from fetch_envelope(Call("POST", f"{app}/functions/{slug}/execute/", body=body, timeout=timeout)))

    @operation
    def get_result(self, task_id: int | str) -> Operation[dict[str, Any]]:
        """Return what became of an execution in the background: `["data"]["status"]`, and "result" or "traceback"."""
        return (yield from fetch_envelope(Call("GET", f"/api/result/{addresses.identifier('task_id', task_id)}/")))

    @operation
    def list(self, limit: int = 100, offset: int = 0) -> Operation[dict[str, Any]]:
        """Return the functions of the app, in "results"."""
        return (yield from fetch_list(Call("GET", f"{self._app}/functions/", _page(limit, offset))))

    @operation
    def get(self, function_slug: str) -> Operation[dict[str, Any]]:
        """Return what is known of a function: "name", "execution_mode" and others."""
        slug = addresses.segment("function_slug", function_slug)
        return (yield from fetch_object(Call("GET", f"{self._app}/functions/{slug}/")))

    @operation
    def list_invocations(
        self, function_slug: str | None = None, status: str | None = None, limit: int = 100, offset: int = 0
    ) -> Operation[dict[str, Any]]:
        """Return executions, in "results"; those of one function, or of one status, where they are named."""
        params = checks.list_texts(function_slug=function_slug, status=status)
        return (yield from fetch_list(Call("GET", self._invocations, [*params, *_page(limit, offset)])))

    @operation
    def get_invocation(self, invocation_id: int | str) -> Operation[dict[str, Any]]:
        """Return what is known of an execution."""
        number = addresses.identifier("invocation_id", invocation_id)
        return (yield from fetch_object(Call("GET", f"{self._invocations}{number}/")))

    @property
    def _invocations(self) -> str:
        return "/api/invocations/" if self._is_current else f"{self._app}/invocations/"


def raise_for_result(answer: Mapping[str, Any]) -> None:
    """Raise for the answer of `execute` or `get_result` that tells of a failure.

    Args:
        answer: The answer.

    Raises:
        FunctionExecutionError: The function failed; `details` has what the server says about it.
    """
    data = checks.require_mapping("answer", answer).get("data")
    data = data if isinstance(data, Mapping) else {}
    status = data.get("status") or answer.get("status")
    if str(status).upper() in ("FAILURE", "FAILED", "ERROR"):
        details = {name: data[name] for name in ("status", "traceback", "result", "error") if name in data}
        raise FunctionExecutionError("the function failed", details=details, reason="function")


def _page(limit: int, offset: int) -> list[tuple[str, str]]:
    return [
        ("limit", str(checks.require_count("limit", limit, 1))),
        ("offset", str(checks.require_count("offset", offset, 0))),
    ]

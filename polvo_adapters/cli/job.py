"""`polvo job URL`: a step of EZThrottle is submitted, and what becomes of it is shown.

The engine is the hosted service where `EZTHROTTLE_API_KEY` is set, and this process otherwise: with `--queue` the job
lies in a directory until it is done, and the same command goes on with what an earlier one has left there. A spinner on
stderr tells how long it takes, on a terminal only.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from polvo_adapters.cli import render
from polvo_adapters.cli.request import join_headers
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import PolvoError
from polvo_adapters.services.ezthrottle import (
    ArgumentError,
    EZThrottle,
    IdempotentStrategy,
    JobResult,
    JobTimeoutError,
    LocalEngine,
    Step,
    StepType,
)

_FAILED, _USAGE, _NO_RESPONSE = 1, 2, 3
_STYLES = {"success": "bold green", "queued": "bold cyan", "running": "bold cyan"}


def run(options: argparse.Namespace) -> int:
    """Submit a job, and show what becomes of it.

    Args:
        options: The command line.

    Returns:
        The exit code: 0 for a success, or a job that the hosted service has accepted; 1 for a failure or a doubt; 2 for
        an option that cannot work; 3 for a job that was not accepted, or has not ended in time.
    """
    out, err = render.open_screens()
    engine: LocalEngine | None = None
    try:
        if options.queue is not None or not os.environ.get("EZTHROTTLE_API_KEY"):
            engine = _make_engine(options)
        result = _submit(options, engine, err)
    except ArgumentError as error:
        err.say(str(error), "bold red")
        return _USAGE
    except JobTimeoutError as error:
        err.say(str(error), "bold red")
        if options.queue is not None:
            err.say("the job stays in the queue; the same --queue goes on with it", "dim")
        return _NO_RESPONSE
    except PolvoError as error:
        err.say(str(error), "bold red")
        return _NO_RESPONSE
    finally:
        if engine is not None:
            engine.close()
    if options.as_json:
        out.say(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _show(result, out)
    return 0 if result["status"] in ("success", "queued") else _FAILED


def _make_engine(options: argparse.Namespace) -> LocalEngine:
    regions = {name: url for name, url in options.regions if url}
    return LocalEngine(
        options.queue,
        regions=regions,
        honours_keys=options.honours_keys,
        webhook_secrets=_read_secrets(),
        timeout=options.timeout,
    )


def _read_secrets() -> list[str]:
    """Return the secrets of webhooks; they are no arguments, which every user of the machine could read."""
    return [secret for secret in os.environ.get("EZTHROTTLE_WEBHOOK_SECRETS", "").split(",") if secret]


def _submit(options: argparse.Namespace, engine: LocalEngine | None, screen: render.Screen) -> JobResult:
    client = EZThrottle(engine=engine, timeout=options.timeout)
    with client, render.make_spinner(screen, f"{options.method} {origin(options.url)}"):
        result = _build(options, client).execute()
        if engine is None or result["executed_locally"]:
            return result
        ended = engine.wait(result["job_id"], options.wait, delivered=True)
        return JobResult({**result, **ended}, engine)


def _build(options: argparse.Namespace, client: EZThrottle) -> Step:
    step = Step(client).url(options.url).method(options.method)
    fields = {name: value.decode("utf-8", "replace") for name, value in join_headers(options.headers).items()}
    body = options.data if options.json is None else options.json
    if body is not None:
        kind = "application/x-www-form-urlencoded" if options.json is None else "application/json"
        if not any(name.lower() == "content-type" for name in fields):
            fields["Content-Type"] = kind
        step.body(_decode(body))
    step.headers(fields)
    if options.frugal:
        step.type(StepType.FRUGAL)
    if options.key is None:
        step.idempotent_strategy(IdempotentStrategy.UNIQUE)
    else:
        step.idempotent_key(options.key)
    if options.regions:
        step.regions([name for name, _ in options.regions]).execution_mode(options.mode)
    if options.webhooks:
        step.webhooks([{"url": url} for url in options.webhooks])
    policy: dict[str, Any] = {"max_retries": options.retries}
    return step if options.retries is None else step.retry_policy(policy)


def _decode(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        pass
    raise ArgumentError("body: it must be text in UTF-8; nothing was sent", reason="body")


def _show(result: JobResult, screen: render.Screen) -> None:
    status = result["status"]
    screen.say(f"{result['job_id']}  {status}", _STYLES.get(status, "bold red"))
    if result["status_code"]:
        tries = result.get("attempts", 1)
        screen.print(render.format_status(result["status_code"]))
        screen.say(f"{tries} attempt{'' if tries == 1 else 's'}", "dim")
    for name in ("note", "error"):
        if result.get(name):
            screen.say(str(result[name]), "dim" if name == "note" else "yellow")
    hooks = result.get("webhooks")
    if hooks:
        screen.say(
            f"webhooks: {hooks['delivered']} delivered, {hooks['failed']} failed, quorum {hooks['quorum']}", "dim"
        )
    if status == "queued":
        screen.say("the result is delivered to the webhooks of the job", "dim")
    if result["response"]:
        screen.print()
        screen.say(result["response"])

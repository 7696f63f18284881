"""The exceptions that an exception of a transport was made of."""

from __future__ import annotations

_DEPTH = 12


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an exception and those that it was made of, the last the innermost.

    urllib3 keeps them in `reason`, among the arguments or as the cause, `requests` in the first argument, PySocks in
    `socket_err`, httpcore as the context that it hides.
    """
    chain = [error]
    while len(chain) < _DEPTH:
        last = chain[-1]
        named = (getattr(last, "reason", None), getattr(last, "socket_err", None))
        hidden = last.__context__ if type(last).__module__.startswith("httpcore") else None
        causes = (*named, *last.args, last.__cause__, hidden)
        cause = next((cause for cause in causes if isinstance(cause, BaseException) and cause not in chain), None)
        if cause is None:
            break
        chain.append(cause)
    return chain

"""What a send through an adapter takes from the call around it, and tells that call.

The call around it is the attempt of an adapter outside of this one, if there is one. Otherwise it is the logical call
of the session, of which one send is one hop.
"""

from __future__ import annotations

from polvo_adapters.context.call import LogicalCall, current_call, extend_default_deadline
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Report
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.requests.exchange import RequestsExchange
from polvo_adapters.shells.requests.wire.transmission import Transmission


def find_logical_call(outer: Transmission | None, clock: Clock, exchange: RequestsExchange) -> LogicalCall | None:
    """Return the logical call that a send is part of, within the deadline of the adapter outside of this one.

    Args:
        outer: The attempt of that adapter, or None.
        clock: Time.
        exchange: The attempts of the send.
    """
    logical = current_call()
    if outer is not None and outer.deadline is not None:
        if logical is None:
            return LogicalCall(None, clock.now(), outer.deadline)
        if logical.deadline is None or logical.deadline > outer.deadline:
            return logical._replace(deadline=outer.deadline, is_default=False)
    return exchange.spare_streams(logical) if logical is not None and logical.is_default else logical


def note_end(outer: Transmission | None, outcome: Outcome, report: Report) -> None:
    """Let the adapter outside of this one, or else the next hops of the call, know what they need of its end."""
    if outer is not None:
        outer.end_inside(outcome.error, outcome.failure, report.attempts)
    elif len(report.entries) > 1:
        extend_default_deadline(report.waited)

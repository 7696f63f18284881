"""The record of an idempotency key, and its manual control."""

from __future__ import annotations

from typing import Any, cast

from polvo_adapters.core.machines import Event
from polvo_adapters.drivers.decisions import decide
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.idempotency.record import ForgetKey, LookAtKey, Record, RecordState, Resolve
from polvo_adapters.stores.base import Store


class Operation:
    """The operation that an idempotency key stands for; `adapter.operation(url, key)` and `session.operation` find it.

    Args:
        store: Where the record lives.
        record: The policy of the record.
        place: Key of the record in the store.
    """

    def __init__(self, store: Store, record: Record, place: str) -> None:
        self._store, self._record, self._place = store, record, place

    @property
    def state(self) -> str:
        """State: "not sent", "begun", "sending", "in doubt", "done" or "moved"."""
        return cast("RecordState", self._put(LookAtKey())).phase

    def resolve(self, *, done: bool) -> None:
        """Record whether the server has done an operation that is in doubt.

        Args:
            done: Whether the server has done it. If so, calls with the key are refused as duplicates until the ttl of
                the record is over; otherwise the next one is sent.

        Raises:
            ConfigurationError: The operation is not in doubt.
        """
        if not self._put(Resolve(done)):
            raise ConfigurationError(
                f"{self._place}: it is {self.state} and not in doubt, so there is nothing to resolve"
            )

    def forget(self) -> None:
        """Delete the record, so that the next call with the key is sent, whatever the outcome of earlier ones."""
        self._put(ForgetKey())

    def _put(self, event: Any) -> Any:
        return decide(self._store, [Event(self._record, self._place, event)], [])[0]

    def __repr__(self) -> str:
        return f"<Operation {self._place}: {self.state}>"

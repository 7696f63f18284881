"""What is known of an idempotency key, for people: `adapter.operation(url, key)` and `session.operation(url, key)`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import origin
from polvo_adapters.core.effects import Policy
from polvo_adapters.core.machines import Event
from polvo_adapters.drivers.decisions import decide
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
from polvo_adapters.policies.idempotency.record import ForgetKey, LookAtKey, Record, RecordState, Resolve
from polvo_adapters.stores.base import Store


class Operation:
    """The operation that an idempotency key stands for, as the record has it.

    Args:
        store: Where the record lives.
        record: The record.
        place: Where in the store.
    """

    def __init__(self, store: Store, record: Record, place: str) -> None:
        self._store, self._record, self._place = store, record, place

    @property
    def state(self) -> str:
        """How it stands: "not sent", "begun", "sending", "in doubt", "done" or "moved"."""
        return cast("RecordState", self._put(LookAtKey())).phase

    def resolve(self, *, done: bool) -> None:
        """Say what became of an operation that is in doubt.

        Args:
            done: Whether the server has done it. Then calls with the key are refused as duplicates until the ttl of
                the record is over; else the next one is sent.

        Raises:
            ConfigurationError: It is not in doubt.
        """
        if not self._put(Resolve(done)):
            raise ConfigurationError(
                f"{self._place}: it is {self.state} and not in doubt, so there is nothing to resolve"
            )

    def forget(self) -> None:
        """Forget what is known, so that the next call with the key is sent, whatever became of those before."""
        self._put(ForgetKey())

    def _put(self, event: Any) -> Any:
        return decide(self._store, [Event(self._record, self._place, event)], [])[0]

    def __repr__(self) -> str:
        return f"<Operation {self._place}: {self.state}>"


def find(policies: Iterable[Policy], store: Store, url: str, key: str) -> Operation:
    """Return what is known of a key.

    Args:
        policies: The policies of an adapter or a transport.
        store: Their store.
        url: An absolute URL; the key belongs to its origin, and to the current tenant.
        key: The key.

    Raises:
        ConfigurationError: None of the policies keeps a record.
    """
    for policy in policies:
        if isinstance(policy, IdempotencyKeys) and isinstance(policy.record, Record):
            return Operation(store, policy.record, policy.place(origin(url), current_tenant(), key))
    raise ConfigurationError(
        f"there is no record of idempotency keys for {origin(url)}; use idempotency={{'record': True}}, or ask for "
        "another URL"
    )

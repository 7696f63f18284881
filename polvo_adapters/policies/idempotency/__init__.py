"""Idempotency keys: one key for everything that is done for a call.

policy           IdempotencyKeys
record           what became of each key, remembered in the store
key_responses    what the server's answer says about the key
"""

from polvo_adapters.policies.idempotency.policy import IdempotencyKeys, Strategy
from polvo_adapters.policies.idempotency.record import Record

__all__ = ["IdempotencyKeys", "Record", "Strategy"]

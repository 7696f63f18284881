"""Idempotency keys: one key for all attempts of a call.

policy           IdempotencyKeys
record           the state of each key, kept in the store
key_responses    what the server's response says about the key
"""

from polvo_adapters.policies.idempotency.policy import IdempotencyKeys, Strategy
from polvo_adapters.policies.idempotency.record import Record

__all__ = ["IdempotencyKeys", "Record", "Strategy"]

"""Idempotency keys: one key for all attempts of a call.

policy           IdempotencyKeys
record           the state of each key, kept in the store
recorded_run     one call under such a record
refusals         what callers get instead of a response
key_responses    what the server's response says about the key
"""

from polvo_adapters.policies.idempotency.policy import IdempotencyKeys, Strategy
from polvo_adapters.policies.idempotency.record import Record

__all__ = ["IdempotencyKeys", "Record", "Strategy"]

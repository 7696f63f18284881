"""Engines: what executes the jobs of `polvo_adapters.services.ezthrottle`.

Each is an `Engine` (`polvo_adapters.services.ezthrottle.engine`), and is given plain values. `hosted` is the hosted
service, on the operations of `envelope`, which do no I/O. `local` is this process, with `local_queue` and
`local_records` for what must not be lost, `local_execution` and `local_attempts` for the calls, and `local_delivery` for
the webhooks.
"""

"""Engines: what executes the jobs of `polvo_adapters.services.ezthrottle`.

Each is an `Engine` (`polvo_adapters.services.ezthrottle.engine`), and is given plain values.

    hosted    the hosted service, on the operations of `envelope`, which do no I/O
    local     this process: `local_queue` and `local_records` hold what must not be lost, `local_dispatcher` hands it to
              workers, `local_execution` and `local_attempts` make the calls, `local_delivery` the webhooks
"""

"""Engines: what executes the jobs of `polvo_adapters.services.ezthrottle`.

Each is an `Engine` (`base`), and is given plain values. `hosted` is the hosted service, on the operations of
`envelope`, which do no I/O.
"""

"""Clients of hosted services, on the stack of this library: each keeps the names of the client that it replaces.

    double_o      secrets, environments and proxied calls of Double-O
    ezthrottle    calls that an engine queues, retries, races and reports; with EZThrottle, or in this process
    taruvi        functions, records, users, files and secrets of Taruvi

The calls of a service are written once, as generators (`double_o.calls`); a client drives them.
"""

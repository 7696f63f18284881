"""Clients of hosted services, on the stack of this library: each keeps the names of the client that it replaces.

    double_o      secrets, environments and proxied calls of Double-O

What a service's calls do is written once, as generators (`operations`); a client drives them.
"""

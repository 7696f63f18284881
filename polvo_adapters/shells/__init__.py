"""Shells: they make attempts, know a transport and what its exceptions mean.

What lies here is what all shells share; `requests` and `httpx` are a shell each.
"""

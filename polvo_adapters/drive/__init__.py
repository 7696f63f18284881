"""The drivers: each performs what a flow yields, in its own world (threads, asyncio, virtual time)."""

"""The shell of requests: adapters, sessions, and the exchange that makes their attempts."""

"""The shell of httpx: transports, and the exchange that makes their attempts."""

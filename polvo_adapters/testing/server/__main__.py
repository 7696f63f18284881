"""Run the failure server by itself: `python -m polvo_adapters.testing.server --port 8000`."""

from polvo_adapters.testing.server.failure_server import main

if __name__ == "__main__":
    raise SystemExit(main())

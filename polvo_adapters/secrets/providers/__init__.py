"""The places that secrets are fetched from, a module each."""

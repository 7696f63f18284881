"""The providers of secrets, a module each."""

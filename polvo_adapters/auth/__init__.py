"""Credentials for requests: obtained, renewed before they expire, kept where you say, and shown to nobody else."""

"""Impure ground: the clock, threads, forks, what is loaded late."""

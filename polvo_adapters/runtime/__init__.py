"""The clock, threads, forks, listeners, and names that are loaded when they are first used: all that is impure."""

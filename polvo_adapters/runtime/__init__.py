"""The clock, threads, forks, copies, listeners, and names that are loaded when first used: all that is impure."""

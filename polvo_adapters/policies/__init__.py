"""The policies: frozen values that know the order of things, without clock, I/O, threads or randomness."""

"""The messages of authorization servers: requests, and how responses are read (RFC 6749 and its relatives)."""

"""What is said to an authorization server, and what it answers (RFC 6749 and its relatives)."""

"""Bytes to and from an agent server: heads, pool, relay, upgrade and header rules, below twisted.web."""

"""Tests of speaking to one agent server."""

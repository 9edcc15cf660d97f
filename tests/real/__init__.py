"""Journeys with the real command lines of coding agents, against a model of our own; skipped where they are not installed."""

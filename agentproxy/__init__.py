"""agentproxy: a multi-user server for coding agents that live in a terminal."""

__version__ = "0.1.0"

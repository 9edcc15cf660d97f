"""Typed configuration from YAML or JSON, the environment and the command line; it explains itself."""

from agentproxy.config.faults import ConfigError, Fault
from agentproxy.config.loading import Loaded, load
from agentproxy.config.options import Config

__all__ = ["Config", "ConfigError", "Fault", "Loaded", "load"]

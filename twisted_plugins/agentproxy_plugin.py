"""The twistd plugin: makes ``twistd agentproxy`` and ``twist agentproxy`` known. No ``__init__.py`` beside this file."""

from twisted.application.service import ServiceMaker

agentproxy = ServiceMaker(
    "agentproxy",
    "agentproxy.daemon",
    "A multi-user server for coding agents that live in a terminal.",
    "agentproxy",
)

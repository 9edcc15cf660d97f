#!/usr/bin/env python3
"""Twisted's ReverseProxyResource as it is shipped, with the routes of its standard input: ``stock.py PORT``."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.web.proxy import ReverseProxyResource
from twisted.web.resource import Resource
from twisted.web.server import Site

reactor: Any = _reactor

if __name__ == "__main__":
    root: Any = Resource()
    for name, port in json.load(sys.stdin).items():
        root.putChild(name.encode(), ReverseProxyResource("127.0.0.1", port, b""))
    reactor.listenTCP(int(sys.argv[1]), Site(root), backlog=4096, interface="127.0.0.1")
    reactor.run()

"""All SQL of the server, run in threads behind ``async`` methods; one transaction is one named method."""

from __future__ import annotations

from agentproxy.store.sealing import Sealer
from agentproxy.store.sessions import Store
from agentproxy.store.trouble import StoreError

__all__ = ["Sealer", "Store", "StoreError"]

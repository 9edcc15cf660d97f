"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from agentproxy.store import journal

# A property is about values, not about time: a busy machine is no reason to fail.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# An event of a kind that is not in the table is a defect here; a server keeps it and says so.
journal.strict = True

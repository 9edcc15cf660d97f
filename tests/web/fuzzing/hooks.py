"""What schemathesis may not try: to wait for minutes, or to follow a log until its session ends."""

from __future__ import annotations

from typing import Any

import schemathesis

PATIENCE = "0.2"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Shorten what waits; values that are wrong are left as they are."""
    query = case.query
    if case.operation.path.endswith("/wait"):
        # A number where the description wants one: schemathesis judges the request as it is after this.
        number = case.operation.path == "/sessions/{session_id}/wait"
        query.setdefault("timeout", float(PATIENCE) if number else PATIENCE)
    for name in {"timeout", "wait"} & set(query or ()):
        try:
            long = float(query[name]) > float(PATIENCE)
        except (TypeError, ValueError):
            continue
        if long:
            query[name] = PATIENCE if isinstance(query[name], str) else float(PATIENCE)
    if query and str(query.get("follow")).lower() in ("true", "1", "yes", "on"):
        query["follow"] = "false"

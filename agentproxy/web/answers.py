"""JSON answers and refusals as bytes on a ``twisted.web`` request; the one place where a face turns a refusal into HTTP."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request

from agentproxy.errors import INTERNAL_ERROR, METHOD_NOT_ALLOWED, NOT_FOUND, Refusal

log = Logger()


def answer(request: Request, payload: Any, status: int = 200) -> bytes:
    """Set status and content type on ``request`` and return ``payload`` as JSON."""
    request.setResponseCode(status)
    request.responseHeaders.setRawHeaders("content-type", ["application/json"])
    return msgspec.json.encode(payload)


def refuse(request: Request, refusal: Refusal) -> bytes:
    """Return the seeds' error shape for ``refusal``, with ``Retry-After`` where it has one."""
    if refusal.retry_after is not None:
        request.responseHeaders.setRawHeaders("retry-after", [str(max(1, math.ceil(refusal.retry_after)))])
    return answer(request, refusal.body(), refusal.kind.status)


def answer_failure(request: Request, failure: Failure) -> bytes:
    """Return the answer for whatever a route raised: a refusal as it is, a routing error as 404 or 405, else 500 and a log."""
    error = failure.value
    if isinstance(error, Refusal):
        return refuse(request, error)
    code = getattr(error, "code", None)
    if code == 404:
        return refuse(request, Refusal(NOT_FOUND, f"no route for {_path(request)}"))
    if code == 405:
        methods = sorted(m for m in (getattr(error, "valid_methods", None) or ()) if m != "HEAD")
        request.responseHeaders.setRawHeaders("allow", [", ".join(methods)])
        return refuse(request, Refusal(METHOD_NOT_ALLOWED, f"{_path(request)} takes {', '.join(methods)}"))
    log.failure(
        "A request failed: {method} {path}",
        failure,
        method=request.method.decode("ascii", "replace"),
        path=_path(request),
    )
    return refuse(request, Refusal(INTERNAL_ERROR))


def _path(request: Request) -> str:
    path: bytes = request.path
    return path.decode("utf-8", "replace")[:200]

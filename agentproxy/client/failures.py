"""What can go wrong with a call, by what the caller may do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class ClientError(Exception):
    """A call did not come to its result."""


class Unreachable(ClientError):  # noqa: N818 - it is a fact about the server
    """No server answered: it is not there, or the connection broke. A change may or may not have happened."""


class Refused(ClientError):  # noqa: N818 - an expected answer
    """The server said no.

    :ivar code: the stable name of the refusal, as in docs/errors.md.
    :ivar status: the HTTP status.
    :ivar hint: what happened and what to do next, in a sentence.
    :ivar retry_after: seconds until trying again makes sense, or None.
    :ivar request_id: by which the operator finds the request in the server's log.
    :ivar facts: everything else that the answer says (``step``, ``output``...).
    """

    def __init__(
        self,
        status: int,
        code: str,
        hint: str,
        facts: Mapping[str, Any],
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(hint)
        self.status = status
        self.code = code
        self.hint = hint
        self.facts = facts
        self.retry_after = retry_after
        self.request_id = request_id


def refusal(status: int, body: bytes, retry_after: str | None, request_id: str | None = None) -> Refused:
    """Return what an answer with an error status says, whoever wrote it."""
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = None
    if not isinstance(said, dict):
        text = body.decode("utf-8", "replace").strip()[:500]
        return Refused(
            status, f"http_{status}", text or f"the server answered with the status {status}", {}, wait, request_id
        )
    sentence = said.get("message") or said.get("detail") or said.get("error") or f"status {status}"
    return Refused(status, str(said.get("code") or f"http_{status}"), str(sentence), said, wait, request_id)

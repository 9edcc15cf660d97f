"""What was said, also after the end.

| Route | Answer |
|---|---|
| `GET /sessions/:id/messages` | `{"messages": [...], "more"}`; `after`, `limit`, `last`, `q` |
| `GET /sessions/:id/export` | the whole as JSON, or Markdown (`format=markdown`, `Accept: text/markdown`) |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.web.http import Request

from agentproxy.features.looking import Shown
from agentproxy.features.transcripts import Transcripts
from agentproxy.model.message import Message
from agentproxy.model.principal import Principal
from agentproxy.web import wire, xapi
from agentproxy.web.answers import answer
from agentproxy.web.routing import route
from agentproxy.web.sending import Sender

_PLAIN_FENCE = "```"


class Said:
    """The routes of transcripts."""

    def __init__(self, transcripts: Transcripts) -> None:
        self._transcripts = transcripts

    @route("GET", "/sessions/<session_id>/messages")
    async def messages(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Show a page of what was said."""
        values = wire.query(request)
        limit = wire.whole_number(values, "limit", 200, 1, 1000)
        if "last" in values:
            last = wire.whole_number(values, "last", 1, 1, 1000)
            found = await self._transcripts.last(caller, session_id, last)
        else:
            after = wire.whole_number(values, "after", -1, 0, 999_999_999)
            words = values.get("q", "").split()
            found = await self._transcripts.page(caller, session_id, after, limit, words)
        return answer(request, {"messages": [shown(one) for one in found.messages], "more": found.more})

    @route("GET", "/sessions/<session_id>/export")
    async def export(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Give a session and everything that was said in it."""
        wanted = wire.one_of(wire.query(request), "format", _by_accept(request), ("json", "markdown"))
        view, pages = await self._transcripts.whole(caller, session_id)
        kind, suffix = ("text/markdown", "md") if wanted == "markdown" else ("application/json", "json")
        request.responseHeaders.setRawHeaders("content-type", [f"{kind}; charset=utf-8"])
        name = f'attachment; filename="session-{view.session.id}.{suffix}"'
        request.responseHeaders.setRawHeaders("content-disposition", [name])
        with Sender(request) as sender:
            await sender.write(markdown_head(view) if wanted == "markdown" else json_head(view))
            first = True
            async for page in pages:
                await sender.write(markdown(page) if wanted == "markdown" else json_rows(page, first))
                first = False
            await sender.write(b"" if wanted == "markdown" else b"]}\n")
        return b""


def shown(message: Message) -> dict[str, Any]:
    """Return a message as the API shows it."""
    return {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "time": message.time,
        "final": message.final,
    }


def json_head(view: Shown) -> bytes:
    """Return the beginning of the JSON of an export."""
    return b'{"session":' + msgspec.json.encode(xapi.shown(view)) + b',"messages":['


def json_rows(page: Sequence[Message], first: bool) -> bytes:
    """Return a page of messages inside the JSON of an export."""
    rows = b",".join(msgspec.json.encode(shown(message)) for message in page)
    return rows if first else b"," + rows


def markdown_head(view: Shown) -> bytes:
    """Return the beginning of the Markdown of an export: a title and the facts of the session."""
    session = view.session
    facts = [
        ("Session", session.id),
        ("Agent", session.agent),
        ("Owner", session.owner),
        ("Phase", session.phase.value),
    ]
    facts += [("Started", f"{session.created_at:%Y-%m-%d %H:%M:%S} UTC")]
    if session.ended_at is not None:
        facts.append(("Ended", f"{session.ended_at:%Y-%m-%d %H:%M:%S} UTC"))
    if session.ending is not None:
        facts.append(("Why", session.ending.sentence))
    title = _one_line(session.description or f"Session {session.id}")
    rows = "\n".join(f"- {name}: {_one_line(value)}" for name, value in facts)
    return f"# {title}\n\n{rows}\n".encode("utf-8", "replace")


def markdown(page: Sequence[Message]) -> bytes:
    """Return a page of messages as Markdown. What the agent drew stands in a fence: its columns have a meaning."""
    return "".join(_as_markdown(message) for message in page).encode("utf-8", "replace")


def _as_markdown(message: Message) -> str:
    text = "\n".join(line.rstrip() for line in message.content.split("\n")).strip("\n")
    fence = _PLAIN_FENCE
    while fence in text:
        fence += "`"
    who = "User" if message.role == "user" else "Agent"
    return f"\n## {message.id}. {who}, {message.time:%Y-%m-%d %H:%M:%S} UTC\n\n{fence}text\n{text}\n{fence}\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _by_accept(request: Request) -> str:
    return "markdown" if "text/markdown" in (wire.header(request, "accept") or "").lower() else "json"

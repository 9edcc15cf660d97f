"""The routes of an agent server: agentapi's, and ours.

=======================  ===============================================================================
GET /status              ``status``, ``agent_type``, ``transport``; ``prompt`` (the input box shows); ``exit``
GET /messages            all messages
POST /message            ``user``: typed and entered; ``raw``: keys, at once
POST /upload             one file (multipart field ``file``)
GET /events              messages, status, errors; replayed for each new reader; ``agent_exited`` at the end;
                         ``keys_typed``, at most once a second, when somebody types at ``/terminal``
GET /internal/screen     the screen at each change
GET /openapi.json        these routes as OpenAPI 3.1; also ``.yaml``, ``/openapi-3.0.json``, ``/openapi-3.0.yaml``
GET /docs                the same for people
GET /schemas/X.json      the JSON schema of an answer, ``null`` for an unknown one
GET /health              200 while the agent lives, then 503
POST /interrupt          the agent's own interrupt keys
GET /screen              text, cursor and size
GET /screen/stream       ``rows`` events: all rows, then those that change
GET /terminal            WebSocket: the terminal's bytes both ways
POST /resize             ``width`` and ``height`` of the terminal, in cells
GET /permissions         what an agent on ACP asks leave for, and the options that it offers
POST /permissions        ``id`` of a request and the ``option`` chosen, null to call it off
=======================  ===============================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentproxy.embedded.body import ProblemError, fault, message_wish, permission_wish, size_wish
from agentproxy.embedded.openapi import as_yaml, document, downgraded, page
from agentproxy.embedded.session import Session
from agentproxy.embedded.talk import ERROR, EVENTS, MESSAGE, ROWS, SCREEN, STATUS, message_event, rows_event
from agentproxy.embedded.uploads import UploadError

if TYPE_CHECKING:
    from agentproxy.embedded.http import Asked


def status(asked: Asked) -> None:
    """GET /status."""
    session = asked.session
    answer = {**session.status_event(), "transport": session.transport, "prompt": session.prompt}
    if session.exit is not None:
        answer["exit"] = session.exit
    asked.ok("StatusResponseBody", answer)


def messages(asked: Asked) -> None:
    """GET /messages."""
    said = asked.session.conversation.messages
    rows = [{"id": m.id, "content": m.content, "role": m.role, "time": m.time} for m in said]
    asked.ok("MessagesResponseBody", {"messages": rows})


async def message(asked: Asked) -> None:
    """POST /message."""
    content, kind = message_wish(asked.sent(), asked.getHeader("content-type"))
    if kind == "raw":
        asked.session.write(content.encode("utf-8", "replace"))
    else:
        await asked.session.say(content)
    asked.ok("MessageResponseBody", {"ok": True})


def upload(asked: Asked) -> None:
    """POST /upload."""
    try:
        path = asked.site.uploads.take(asked.sent(), asked.getHeader("content-type") or "")
    except UploadError as refused:
        errors = [fault(refused.text, refused.location, None)] if refused.location else None
        raise ProblemError(refused.status, "validation failed" if refused.location else refused.text, errors) from None
    asked.ok("UploadResponseBody", {"ok": True, "filePath": str(path)})


def events(asked: Asked) -> None:
    """GET /events."""
    session = asked.session
    said = session.conversation.messages
    stream = asked.stream((*EVENTS, *session_events(session)))
    for one in said:
        stream(MESSAGE, message_event(one))
    stream(STATUS, session.status_event())
    for error in session.errors:
        stream(ERROR, error)
    for asks in getattr(session, "permissions", {}).values():
        stream("permission_request", asks.shown())


def session_events(session: Any) -> tuple[str, ...]:
    """Return the names of the events that only this kind of talk has."""
    return tuple(getattr(session, "own_events", ()))


def screens(asked: Asked) -> None:
    """GET /internal/screen."""
    asked.stream((SCREEN,))(SCREEN, {"screen": asked.session.screen.text})


def screen(asked: Asked) -> None:
    """GET /screen."""
    page = asked.session.screen
    column, row = page.cursor
    size = {"width": page.width, "height": page.height}
    asked.ok("ScreenResponseBody", {"text": page.text, "cursor": {"column": column, "row": row}, "size": size})


def screen_stream(asked: Asked) -> None:
    """GET /screen/stream."""
    asked.stream((ROWS,))(ROWS, rows_event(asked.session.screen))


def health(asked: Asked) -> None:
    """GET /health."""
    if asked.session.exit is not None:
        raise ProblemError(503, "the agent has exited")
    asked.ok("HealthResponseBody", {"ok": True})


def interrupt(asked: Asked) -> None:
    """POST /interrupt."""
    asked.session.interrupt()
    asked.ok("InterruptResponseBody", {"ok": True})


def resize(asked: Asked) -> None:
    """POST /resize."""
    session = _of_terminal(asked)
    width, height = size_wish(asked.sent(), asked.getHeader("content-type"))
    session.resize(width, height)
    asked.ok("ResizeResponseBody", {"ok": True, "width": width, "height": height})


def terminal(asked: Asked) -> None:
    """GET /terminal."""
    session = _of_terminal(asked)
    if asked.from_foreign_page():
        raise ProblemError(403, "pages of this origin may not attach to the terminal")
    if (asked.getHeader("upgrade") or "").lower() != "websocket":
        raise ProblemError(426, "the terminal is a WebSocket")
    from agentproxy.embedded.terminal_socket import attach  # only who attaches pays for it

    attach(asked, session, asked.site.attached, asked.site.clock)


def _of_terminal(asked: Asked) -> Session:
    session = asked.session
    if not isinstance(session, Session):
        raise ProblemError(409, "this agent has no terminal: it speaks ACP on its pipes")
    return session


def permissions(asked: Asked) -> None:
    """GET /permissions."""
    asked.ok("PermissionsResponseBody", {"permissions": [one.shown() for one in _asks(asked).permissions.values()]})


def permit(asked: Asked) -> None:
    """POST /permissions."""
    session = _asks(asked)
    number, option = permission_wish(asked.sent(), asked.getHeader("content-type"))
    try:
        session.permit(number, option)
    except KeyError:
        raise ProblemError(404, f"nothing is asked with the id {number!r}; GET /permissions has what is") from None
    except ValueError as wrong:
        raise ProblemError(422, "validation failed", [fault(str(wrong), "body.option", option)]) from None
    asked.ok("PermissionResponseBody", {"ok": True})


def _asks(asked: Asked) -> Any:
    """Return the session of an agent that asks for leave over its protocol."""
    session: Any = asked.session
    if not hasattr(session, "permissions"):
        raise ProblemError(409, "this agent asks on its screen; answer with keys (POST /message of type raw)")
    return session


def openapi(asked: Asked) -> None:
    """GET /openapi.json."""
    asked.document("application/vnd.oai.openapi+json", json.dumps(document()).encode())


def openapi_yaml(asked: Asked) -> None:
    """GET /openapi.yaml."""
    asked.document("application/vnd.oai.openapi+yaml", as_yaml(document()).encode())


def openapi_old(asked: Asked) -> None:
    """GET /openapi-3.0.json."""
    asked.document("application/vnd.oai.openapi+json", json.dumps(downgraded(document())).encode())


def openapi_old_yaml(asked: Asked) -> None:
    """GET /openapi-3.0.yaml."""
    asked.document("application/vnd.oai.openapi+yaml", as_yaml(downgraded(document())).encode())


def docs(asked: Asked) -> None:
    """GET /docs."""
    asked.document("text/html", page().encode())


ROUTES: dict[str, dict[str, Callable[[Asked], Any]]] = {
    "/status": {"GET": status},
    "/messages": {"GET": messages},
    "/message": {"POST": message},
    "/upload": {"POST": upload},
    "/events": {"GET": events},
    "/internal/screen": {"GET": screens},
    "/health": {"GET": health},
    "/interrupt": {"POST": interrupt},
    "/screen": {"GET": screen},
    "/screen/stream": {"GET": screen_stream},
    "/terminal": {"GET": terminal},
    "/resize": {"POST": resize},
    "/permissions": {"GET": permissions, "POST": permit},
    "/openapi.json": {"GET": openapi},
    "/openapi.yaml": {"GET": openapi_yaml},
    "/openapi-3.0.json": {"GET": openapi_old},
    "/openapi-3.0.yaml": {"GET": openapi_old_yaml},
    "/docs": {"GET": docs},
}

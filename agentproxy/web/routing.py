"""Routes as marks on methods, and the face: one Klein tree made of parts.

A part is a plain object whose methods carry :func:`route`. Each is called as ``method(request, caller, **path_fields)`` with
the principal that the request has; a request without one never comes to a part, but for routes marked ``open``. What a
method raises becomes the answer in ``answers.py``.

A client that hangs up ends what reads for it. What changes something goes on to its end, or memory and store would differ, and
keys would be pressed by half.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from klein import Klein
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.iweb import IRequest

from agentproxy import logs
from agentproxy.errors import FORBIDDEN, Refusal
from agentproxy.features.detached import detached
from agentproxy.model.principal import Principal
from agentproxy.model.request_id import HEADER
from agentproxy.web.answers import answer_failure

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[bytes]])
Identify = Callable[[Request], Awaitable[Principal]]
"""Returns who asks; raises UNAUTHENTICATED."""

_MARK = "__routes__"
READS = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a face.

    :param path: with fields as ``<session_id>``; ``<path:rest>`` takes slashes too.
    :param open: whether somebody without an identity may use it; such a caller is :data:`ANONYMOUS`.
    :param waits: whether it ends when its client hangs up although it changes something: its part takes care of what must not.
    :param name: the method's name.
    :param summary: the docstring.
    """

    method: str
    path: str
    open: bool
    name: str
    summary: str
    waits: bool = False

    @property
    def goes_on(self) -> bool:
        """Return whether it goes on when its client hangs up."""
        return self.method not in READS and not self.waits


ANONYMOUS = Principal("", role="none", source="anonymous")
"""The caller of an open route: nobody, with no permission."""


def route(
    method: str,
    path: str,
    *,
    open: bool = False,  # noqa: A002 - reads as a mark
    waits: bool = False,
) -> Callable[[Handler], Handler]:
    """Mark a method of a part as the answer to ``method path``; several marks are several routes."""

    def mark(handler: Handler) -> Handler:
        one = Route(method, path, open, handler.__name__, inspect.getdoc(handler) or "", waits)
        setattr(handler, _MARK, (one, *getattr(handler, _MARK, ())))
        return handler

    return mark


def routes_of(part: type) -> Iterator[Route]:
    """Yield the routes of a class of parts, in the order of its source."""
    for value in vars(part).values():
        yield from getattr(value, _MARK, ())


class Face:
    """The Klein tree of a face.

    :param parts: what answers; each route once.
    :param identify: tells who asks.
    :param refused: told of what somebody may not do, other than to a session.
    :ivar routes: every route of the face.
    """

    def __init__(
        self,
        parts: Sequence[object],
        identify: Identify,
        refused: Callable[[Principal, Route, Refusal], None] = lambda _caller, _route, _refusal: None,
    ) -> None:
        self._told = refused
        self.app = Klein()
        self.routes: list[Route] = []
        self._identify = identify
        self.app.handle_errors(Exception)(_refused)
        for part in parts:
            for one in routes_of(type(part)):
                self.routes.append(one)
                self._add(one, getattr(part, one.name))

    def _add(self, one: Route, handler: Callable[..., Awaitable[bytes]]) -> None:
        async def endpoint(request: Request, **fields: Any) -> bytes:
            logs.about(request=id_of(request), session=fields.get("session_id"))
            caller = ANONYMOUS if one.open else await self._identify(request)
            work = self._answered(one, caller, handler(request, caller, **fields))
            return await (detached(work, f"{one.method} {one.path}") if one.goes_on else work)

        endpoint.__name__ = f"{type(getattr(handler, '__self__', None)).__name__}_{one.method}_{one.name}"
        self.app.route(one.path, methods=[one.method], endpoint=f"{one.method} {one.path}")(endpoint)

    async def _answered(self, one: Route, caller: Principal, work: Awaitable[bytes]) -> bytes:
        """Return the answer of a route, and tell of what the caller may not do."""
        try:
            return await work
        except Refusal as refusal:
            if refusal.kind is FORBIDDEN and refusal.session_id is None:
                self._told(caller, one, refusal)
            raise


def id_of(request: Request) -> str | None:
    """Return the id that the answer to a request has, None outside of the tree that gives it one."""
    found = request.responseHeaders.getRawHeaders(HEADER)
    return found[0].decode("ascii") if found else None


def _refused(request: IRequest, failure: Failure) -> bytes:
    """Answer whatever a route raised."""
    assert isinstance(request, Request)
    return answer_failure(request, failure)

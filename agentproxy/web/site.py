"""The resource tree of a listener: sessions' paths to the gateway's resource, all others to the face, with headers on both."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.http import parse_qs
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from agentproxy.model.cors import CorsRules
from agentproxy.model.request_id import HEADER, request_id

SECURITY_HEADERS = {
    "x-xss-protection": "1; mode=block",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'"
    ),
}


class JsonRequest(Request):
    """A request whose body is left to its route, and whose ``args`` are those of its target alone.

    Twisted takes a body for a form where its type says so, and curl says it of everything: a message with ``&wait=5`` in it would
    then be a parameter, and a long body would hold the reactor before anybody has asked who sends it.
    """

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer."""
        assert self.content is not None
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _mark, query = path.partition(b"?")
        self.args = parse_qs(query, True)
        self.process()  # type: ignore[no-untyped-call]


class Root(Resource):
    """The root of the tree.

    :param face: the Klein resource of the face.
    :ivar proxy: the resource that owns ``/:sessionId/*``; without one the face answers these too.
    :param is_session: whether a request target leads to a session.
    :param cors: which origins may read our answers.
    """

    def __init__(self, face: IResource, is_session: Callable[[bytes], bool], cors: CorsRules) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._face = face
        self._cors = cors
        self.proxy: IResource | None = None
        self._is_session = is_session

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Return the resource for a request, which then sees its whole path again."""
        assert request.prepath is not None
        assert request.postpath is not None
        request.prepath.remove(path)
        request.postpath.insert(0, path)
        if self.proxy is not None and self._is_session(request.uri):
            return self.proxy
        given = request.requestHeaders.getRawHeaders(HEADER, [None])[0]
        request.responseHeaders.setRawHeaders(HEADER, [request_id(given)])
        request.responseHeaders.setRawHeaders("cache-control", ["no-store"])  # a route may know better
        for name, value in SECURITY_HEADERS.items():
            request.responseHeaders.setRawHeaders(name, [value])
        if request.isSecure():
            request.responseHeaders.setRawHeaders("strict-transport-security", ["max-age=31536000; includeSubDomains"])
        origin = request.getHeader(b"origin")
        if request.method == b"OPTIONS":
            return _Preflight(self._cors.preflight(origin))
        _add(request, self._cors.headers(origin))
        return self._face


class _Preflight(Resource):
    """The answer to ``OPTIONS``: 204, with CORS headers for an origin that is allowed."""

    isLeaf = True  # noqa: N815 - the name that twisted.web reads

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._headers = headers

    def render(self, request: Request) -> bytes:
        """Answer without a body."""
        request.setResponseCode(204)
        request.responseHeaders.removeHeader(b"content-type")
        _add(request, self._headers)
        return b""


def _add(request: Request, headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        request.responseHeaders.addRawHeader(name, value)

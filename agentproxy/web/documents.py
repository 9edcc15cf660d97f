"""The API described: the OpenAPI document, and a page to read and try it that needs nothing from the internet.

| Route | Answer |
|---|---|
| `GET /openapi.json` | the OpenAPI 3.1 document |
| `GET /docs` | the page |
| `GET /docs/:file` | what the page is made of |
"""

from __future__ import annotations

from importlib.resources import files

import msgspec
from twisted.internet.threads import deferToThread
from twisted.web.http import Request

from agentproxy.errors import NOT_FOUND, Refusal
from agentproxy.model.principal import Principal
from agentproxy.web.openapi import document
from agentproxy.web.routing import Face, route

FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}
"""The files of swagger-ui that the page uses, and their types."""

PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>agentproxy: the API</title>
<link rel="icon" href="docs/favicon-32x32.png"><link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#api", deepLinking: true, persistAuthorization: true, validatorUrl: null});
</script>
</body>
</html>
"""


class Documents:
    """The description of a face.

    :param asks: whether the server asks who somebody is.
    :ivar face: the face; known when it has been made.
    """

    def __init__(self, asks: bool) -> None:
        self._asks = asks
        self.face: Face | None = None
        self._document = b""

    @route("GET", "/openapi.json", open=True)
    async def openapi(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Describe every route as OpenAPI 3.1."""
        assert self.face is not None
        if not self._document:
            self._document = msgspec.json.encode(document(self.face.routes, asks=self._asks))
        request.responseHeaders.setRawHeaders("content-type", ["application/json"])
        return self._document

    @route("GET", "/docs", open=True)
    async def page(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Show a page on which the API can be read and tried."""
        request.responseHeaders.setRawHeaders("content-type", ["text/html; charset=utf-8"])
        return PAGE

    @route("GET", "/docs/<name>", open=True)
    async def file(self, request: Request, caller: Principal, name: str) -> bytes:  # noqa: ARG002
        """Give a file of the page."""
        if name not in FILES:
            raise Refusal(NOT_FOUND, f"the page has {', '.join(FILES)}")
        request.responseHeaders.setRawHeaders("content-type", [FILES[name]])
        request.responseHeaders.setRawHeaders("cache-control", ["public, max-age=86400"])
        return await deferToThread((files("swagger_ui") / "static" / name).read_bytes)

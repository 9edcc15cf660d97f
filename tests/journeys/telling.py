"""The daemon as it is, which also writes down the routes of its live resource tree: ``routes.json`` in its working directory.

Each row is ``[method, path]``; whatever in the tree cannot be listed is ``["?", what]``, so that nobody overlooks it.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from klein.resource import KleinResource
from twisted.web.resource import IResource, Resource

from agentproxy.gateway.resource import SessionProxyResource
from agentproxy.service.faces import Faces
from agentproxy.web.site import Root

IMPLIED = {"HEAD", "OPTIONS"}


def told(resource: IResource, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the routes of a tree."""
    if isinstance(resource, KleinResource):
        for rule in resource._app.url_map.iter_rules():
            for method in sorted((rule.methods or set()) - IMPLIED) or ["?"]:
                yield method, prefix + rule.rule
    elif isinstance(resource, Root):
        others = [value for value in vars(resource).values() if IResource.providedBy(value)]
        for one in others:
            yield from told(one, prefix)
    elif isinstance(resource, SessionProxyResource):
        yield "ANY", prefix + "/<session_id>/<path:rest>"
    else:
        yield "?", f"{prefix} {type(resource).__name__}"
    if isinstance(resource, Resource):
        for name, child in resource.children.items():
            yield from told(child, f"{prefix}/{name.decode()}")


listen = Faces.listen


async def _listen(self: Faces, *arguments: Any) -> None:
    await listen(self, *arguments)
    assert self._front is not None
    Path("routes.json").write_text(json.dumps(sorted(told(self._front.site.resource))))


if __name__ == "__main__":
    Faces.listen = _listen  # type: ignore[method-assign]
    runpy.run_module("agentproxy", run_name="__main__", alter_sys=True)

"""The OpenAPI document: it has every route of the live tree, and it is one."""

from __future__ import annotations

import re
from pathlib import Path

from jsonschema import Draft202012Validator
from treq.testing import StubTreq
from twisted.web.http import Request

from agentproxy.model.principal import LOCAL, Principal
from agentproxy.web.answers import answer
from agentproxy.web.describing import ROUTES
from agentproxy.web.openapi import document
from agentproxy.web.reference import all_routes as routes
from agentproxy.web.routing import Face, route
from tests.daemon import Daemon


def test_every_route_is_described_and_nothing_else() -> None:
    """A new route without a row in web/describing.py, or a row without a route, is named here."""
    assert {f"{one.method} {one.path}" for one in routes()} == set(ROUTES)


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    """No dangling reference; each component is a valid JSON Schema; operations have ids of their own."""
    found = document(routes())
    text = str(found)
    wanted = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert wanted <= set(found["components"]["schemas"])
    for schema in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = [one for path in found["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))
    assert all(one["summary"] for one in operations)


def test_the_live_tree_is_what_is_described(tmp_path: Path) -> None:
    """The daemon serves the document, the page and the page's files; the document's routes all answer."""
    daemon = Daemon(tmp_path)
    try:
        found = daemon.client.document
        assert found["openapi"] == "3.1.0"
        described = {(method.upper(), path) for path, one in found["paths"].items() for method in one}
        assert described == {(one.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", one.path)) for one in routes()}
        page = daemon.client.get("/docs").body.decode()
        for name in re.findall(r'(?:href|src)="(docs/[\w.-]+)"', page):
            assert daemon.client.get(f"/{name}").status == 200, name
        assert "//" not in re.sub(r"<!--.*?-->", "", page).replace("://www.w3.org", ""), "the page asks the internet"
    finally:
        daemon.stop()


class Wrong:
    """Answers what the document does not describe."""

    @route("GET", "/user/info", open=True)
    async def info(self, request: Request, caller: Principal) -> bytes:
        """Say something else."""
        return answer(request, {"nobody": "knows this"})


def test_an_answer_that_is_not_described_is_found(answers_as_described: list[str]) -> None:
    """What holds the answers of the suite against the document can fail."""

    async def nobody(_request: Request) -> Principal:
        return LOCAL

    client = StubTreq(Face([Wrong()], nobody).app.resource())
    client.get("http://proxy.test/user/info")
    client.flush()
    assert len(answers_as_described) == 1
    assert "username" in answers_as_described.pop()

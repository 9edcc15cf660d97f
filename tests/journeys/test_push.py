"""Notifications come to browsers, encrypted for them alone, and to nobody whom they are not for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from joserfc import jwt
from joserfc.jwk import ECKey

from agentproxy.client import AsyncClient, Client, Refused
from agentproxy.model.push import new_vapid
from tests.commands.terminal import COMMAND
from tests.daemon import clean_environment
from tests.journeys.people import KEYS, GuardedDaemon
from tests.journeys.push_service import Browser, PushService, data, push_service, text
from tests.waiting import wait_for

PUBLIC, PRIVATE = new_vapid()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushService]:
    """A push service."""
    with push_service(tmp_path_factory.mktemp("push")) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(service: PushService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedDaemon]:
    """A daemon with keys that knows the push service by name, and trusts its certificate."""
    settings = {
        "VAPID_PUBLIC_KEY": PUBLIC,
        "VAPID_PRIVATE_KEY": PRIVATE,
        "VAPID_CONTACT_EMAIL": "ops@example.org",
        "AGENTPROXY_PUSH_ALLOWED_HOSTS": f"push.example.org,{urlsplit(service.url).netloc},*.localhost",
        "AGENTPROXY_PUSH_SUBSCRIPTIONS_PER_USER": "3",
        "SSL_CERT_FILE": str(service.certificate),
    }
    running = GuardedDaemon(tmp_path_factory.mktemp("daemon"), settings)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def clear(service: PushService, daemon: GuardedDaemon) -> Iterator[None]:
    """Nobody is subscribed and nothing was heard."""
    yield
    for name in ("root", "alice", "bob"):
        for one in daemon.ask(name, "GET", "/notification/subscribe").json():
            daemon.ask(name, "DELETE", "/notification/subscribe", {"endpoint": one["endpoint"]})
    service.heard.clear()
    service.answers.clear()


def subscribed(daemon: GuardedDaemon, name: str, endpoint: str, browser: Browser | None = None, **more: Any) -> str:
    """Subscribe a browser and return the id."""
    body = {"endpoint": endpoint, "keys": (browser or Browser()).keys(), **more}
    reply = daemon.ask(name, "POST", "/notification/subscribe", body)
    assert reply.status == 200, reply.body
    assert reply.json()["success"] is True
    found: str = reply.json()["subscription_id"]
    return found


def sent(daemon: GuardedDaemon, name: str, **body: Any) -> dict[str, Any]:
    """Send a notification and return the answer."""
    reply = daemon.ask(name, "POST", "/notifications/send", {"title": "Done", "body": "All tests pass", **body})
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json()
    return found


def test_a_browser_reads_what_was_sent(daemon: GuardedDaemon, service: PushService) -> None:
    """What comes can be decrypted by the browser alone; the push service sees who sends, for how long and how urgent it is."""
    browser = Browser()
    subscribed(daemon, "alice", f"{service.url}/alice", browser, expirationTime=None)
    told = sent(daemon, "alice", url="/console", urgency="high", ttl=60)
    assert (told["subscriptions"], told["sent"], told["failed"]) == (1, 1, 0)
    [(path, head, body)] = service.heard
    assert path == "/alice"
    assert b"tests pass" not in body
    assert json.loads(browser.opened(body)) == {"title": "Done", "body": "All tests pass", "url": "/console"}
    assert (head["TTL"], head["Urgency"], head["Content-Encoding"]) == ("60", "high", "aes128gcm")
    scheme, _, rest = head["Authorization"].partition(" ")
    fields = dict(one.strip().split("=", 1) for one in rest.split(","))
    assert (scheme, fields["k"]) == ("vapid", PUBLIC)
    raw = data(PUBLIC)
    known = {"kty": "EC", "crv": "P-256", "x": text(raw[1:33]), "y": text(raw[33:])}
    claims = jwt.decode(fields["t"], ECKey.import_key(known), algorithms=["ES256"]).claims
    assert (claims["aud"], claims["sub"]) == (service.url, "mailto:ops@example.org")
    [shown] = daemon.ask("alice", "GET", "/notification/subscribe").json()
    assert shown["last_used"] is not None


def test_the_same_endpoint_again_changes_the_subscription(daemon: GuardedDaemon, service: PushService) -> None:
    """A browser that subscribes again keeps its id and has its new keys; another user's subscription is another one."""
    first = subscribed(daemon, "alice", f"{service.url}/same")
    browser = Browser()
    assert subscribed(daemon, "alice", f"{service.url}/same", browser) == first
    assert subscribed(daemon, "bob", f"{service.url}/same") != first
    [shown] = daemon.ask("alice", "GET", "/notification/subscribe").json()
    assert (shown["id"], shown["user_id"], shown["keys"]) == (first, "alice", browser.keys())
    gone = daemon.ask("bob", "DELETE", "/notification/subscribe", {"endpoint": f"{service.url}/same"})
    assert gone.json() == {"success": True}
    again = daemon.ask("bob", "DELETE", "/notification/subscribe", {"endpoint": f"{service.url}/same"})
    assert (again.status, again.json()["code"]) == (404, "subscription_not_found")
    assert len(daemon.ask("alice", "GET", "/notification/subscribe").json()) == 1


def test_a_user_has_so_many_browsers(daemon: GuardedDaemon, service: PushService) -> None:
    """Beyond the limit it is refused with what to do; one that is there can still be changed."""
    for number in range(3):
        subscribed(daemon, "alice", f"{service.url}/{number}")
    body = {"endpoint": f"{service.url}/4", "keys": Browser().keys()}
    refused = daemon.ask("alice", "POST", "/notification/subscribe", body)
    assert (refused.status, refused.json()["code"]) == (409, "too_many_subscriptions")
    subscribed(daemon, "alice", f"{service.url}/2")


WRONG = {
    "": "Endpoint is required",
    "http://push.example.org/x": "expected https",
    "https://push.example.org:8443/x": "none of the push services",
    "https://169.254.169.254/latest": "none of the push services",
    "https://127.0.0.1/x": "none of the push services",
    "https://[::1]/x": "expected https",
    "https://user@push.example.org/x": "expected https",
    "https://push.example.org@127.0.0.1/x": "expected https",
    "https://push.example.org\\@evil.example/x": "expected https",
    "https://push.example.org.evil.example/x": "none of the push services",
    "https://push.example.org/x y": "expected https",
    "https://push.example.org/x\r\nHost: y": "expected https",
    "file:///etc/passwd": "expected https",
}


@pytest.mark.parametrize("endpoint", WRONG)
def test_an_endpoint_is_a_push_service(endpoint: str, daemon: GuardedDaemon) -> None:
    """The server calls no address that somebody has made up."""
    reply = daemon.ask("alice", "POST", "/notification/subscribe", {"endpoint": endpoint, "keys": Browser().keys()})
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert WRONG[endpoint] in reply.json()["details"]


@pytest.mark.parametrize("keys", [
    {}, {"p256dh": "x"}, {"p256dh": "AAAA", "auth": "AAAA"}, {**Browser().keys(), "auth": "AAAA"},
    {**Browser().keys(), "p256dh": "B" + "A" * 86}, {**Browser().keys(), "p256dh": "ü"},
])  # fmt: skip
def test_keys_are_keys(keys: dict[str, str], daemon: GuardedDaemon) -> None:
    """What is no point of the curve, or no secret of 16 bytes, is refused before anything is encrypted with it."""
    reply = daemon.ask(
        "alice", "POST", "/notification/subscribe", {"endpoint": "https://push.example.org/", "keys": keys}
    )
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert reply.json()["details"].startswith("$.keys")


def test_a_name_below_a_pattern_leads_to_no_private_address(daemon: GuardedDaemon, service: PushService) -> None:
    """A host that only fits a pattern is called at public addresses, whatever its name leads to."""
    subscribed(daemon, "alice", "https://inner.localhost/x")
    told = sent(daemon, "alice")
    assert (told["sent"], told["failed"], told["removed"]) == (0, 1, 0)
    assert "inner.localhost does not answer" in told["failures"][0]


def test_a_subscription_that_is_not_known_any_more_goes(daemon: GuardedDaemon, service: PushService) -> None:
    """404 and 410 remove it; another failure, or a redirect that nobody follows, leaves it."""
    for name, status in (("gone", 410), ("broken", 500), ("moved", 307)):
        service.answers[f"/{name}"] = status
        subscribed(daemon, "alice", f"{service.url}/{name}")
    told = sent(daemon, "alice")
    assert (told["subscriptions"], told["sent"], told["failed"], told["removed"]) == (3, 0, 3, 1)
    left = {urlsplit(one["endpoint"]).path for one in daemon.ask("alice", "GET", "/notification/subscribe").json()}
    assert left == {"/broken", "/moved"}
    assert sorted(path for path, _head, _body in service.heard) == ["/broken", "/gone", "/moved"]


def test_others_are_notified_by_an_administrator(daemon: GuardedDaemon, service: PushService) -> None:
    """Bob cannot notify Alice, by no name of hers; the administrator can, and the audit says so."""
    subscribed(daemon, "alice", f"{service.url}/alice")
    for to in (
        {"user_id": "alice"},
        {"username": "alice"},
        {"user_type": "static"},
        {"user_id": "alice", "username": "bob"},
    ):
        reply = daemon.ask("bob", "POST", "/notifications/send", {"title": "t", "body": "b", **to})
        assert (reply.status, reply.json()["code"]) == (403, "forbidden"), to
    assert sent(daemon, "bob")["subscriptions"] == 0
    assert service.heard == []
    assert sent(daemon, "root", user_id="alice")["sent"] == 1
    client = Client(f"http://127.0.0.1:{daemon.port}", KEYS["root"])
    wait_for(
        "the audit says it",
        lambda: ("root", "push.send") in {(one.actor, one.verb) for one in client.audit(limit=1000)},
    )


def test_a_session_reaches_who_listens_to_it(daemon: GuardedDaemon, service: PushService) -> None:
    """Of the caller's browsers those that want this session; a stranger's session is not there."""
    session_id = daemon.started("alice")
    subscribed(daemon, "alice", f"{service.url}/all")
    subscribed(daemon, "alice", f"{service.url}/this", session_ids=[session_id])
    subscribed(daemon, "alice", f"{service.url}/other", session_ids=["another"])
    assert sent(daemon, "alice", session_id=session_id)["sent"] == 2
    assert {path for path, _head, _body in service.heard} == {"/all", "/this"}
    body = {"title": "t", "body": "b", "session_id": session_id}
    assert daemon.ask("bob", "POST", "/notifications/send", body).json()["code"] == "session_not_found"


def command(place: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `agentproxy helpers send-notification` in an empty directory."""
    program = [*COMMAND, "helpers", "send-notification", "--title", "Hi", "--body", "there", *words]
    environment = clean_environment(place, {"AGENTPROXY_KEY": KEYS["alice"], **settings})
    return subprocess.run(program, cwd=place, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_command_and_the_client_send(daemon: GuardedDaemon, service: PushService, tmp_path: Path) -> None:
    """`agentproxy helpers send-notification` says how many it reached; a dry run sends nothing; the client has the same."""
    browser = Browser()
    url = f"http://127.0.0.1:{daemon.port}"
    client = Client(url, KEYS["alice"])
    made = client.subscribe_push(f"{service.url}/cli", **browser.keys())
    assert [one.id for one in client.push_subscriptions()] == [made]
    dry = command(tmp_path, "--dry-run", AGENTPROXY_URL=url)
    assert (dry.returncode, dry.stdout) == (0, "would reach 1 of 1 browsers\n"), dry.stderr
    assert service.heard == []
    real = command(tmp_path, "--url", "/there", "--user-id", "alice", "--urgency", "low", "--json", AGENTPROXY_URL=url)
    assert json.loads(real.stdout)["sent"] == 1, real.stderr
    assert json.loads(browser.opened(service.heard[0][2]))["url"] == "/there"
    stranger = command(tmp_path, "--user-id", "bob", AGENTPROXY_URL=url)
    assert (stranger.returncode, "admin.accounts" in stranger.stderr) == (1, True)
    client.unsubscribe_push(f"{service.url}/cli")
    assert client.notify("t", "b").subscriptions == 0


def test_the_command_says_why_it_did_not_come(daemon: GuardedDaemon, service: PushService, tmp_path: Path) -> None:
    """`-v` names the subscription and what the push service answered; the status is 1 with and without it."""
    service.answers["/broken"] = 500
    made = subscribed(daemon, "alice", f"{service.url}/broken")
    url = f"http://127.0.0.1:{daemon.port}"
    quiet = command(tmp_path, AGENTPROXY_URL=url)
    assert (quiet.returncode, quiet.stdout) == (1, "sent to 0 of 1 browsers\n")
    told = command(tmp_path, "-v", AGENTPROXY_URL=url)
    host = urlsplit(service.url).hostname
    assert (told.returncode, told.stdout) == (1, f"sent to 0 of 1 browsers\n{made}: {host} answered 500\n")


def test_the_command_finds_the_server_by_its_configuration(daemon: GuardedDaemon, tmp_path: Path) -> None:
    """`--config` says the address where `--server` does not; a file that cannot be used, or says no port, is wrong usage."""
    file = tmp_path / "server.yaml"
    file.write_text(f"listen: 0.0.0.0\nport: {daemon.port}\nauth: {{enabled: true}}\n")
    found = command(tmp_path, "--config", str(file))
    assert (found.returncode, found.stdout) == (0, "sent to 0 of 0 browsers\n"), found.stderr
    other = command(tmp_path, "--config", str(file), "--server", "http://127.0.0.1:1")
    assert (other.returncode, "does not answer" in other.stderr) == (1, True)
    for wrongly, said in (
        ("prt: 1\n", "prt"),
        ("listeners: [{endpoint: 'tcp:1:interface=127.0.0.1'}]\n", "say --server"),
    ):
        file.write_text(wrongly)
        wrong = command(tmp_path, "--config", str(file))
        assert (wrong.returncode, said in wrong.stderr) == (2, True), wrong.stderr


@pytest_twisted.ensureDeferred
async def test_the_asynchronous_client_subscribes_and_sends(daemon: GuardedDaemon, service: PushService) -> None:
    """The same as coroutines, and what is refused is the same exception."""
    browser = Browser()
    client = AsyncClient(f"http://127.0.0.1:{daemon.port}", KEYS["alice"])
    assert await client.push_key() == PUBLIC
    made = await client.subscribe_push(f"{service.url}/async", **browser.keys())
    [shown] = await client.push_subscriptions()
    assert (shown.id, shown.endpoint) == (made, f"{service.url}/async")
    told = await client.notify("Hi", "there", urgency="high")
    assert (told.subscriptions, told.sent, told.failed) == (1, 1, 0)
    assert json.loads(browser.opened(service.heard[0][2])) == {"title": "Hi", "body": "there"}
    await client.unsubscribe_push(f"{service.url}/async")
    with pytest.raises(Refused) as caught:
        await client.unsubscribe_push(f"{service.url}/async")
    assert caught.value.code == "subscription_not_found"


def test_a_page_gets_the_key_to_subscribe_with(daemon: GuardedDaemon) -> None:
    """Whoever may subscribe gets it; who is not known does not."""
    assert daemon.ask("alice", "GET", "/notification/key").json() == {"public_key": PUBLIC}
    assert daemon.ask(None, "GET", "/notification/key").status == 401


def test_without_keys_it_says_how_to_make_them(tmp_path: Path) -> None:
    """Browsers can subscribe; sending is refused with the command that makes keys; the keys that it makes are taken."""
    daemon = GuardedDaemon(tmp_path)
    try:
        body = {"endpoint": "https://fcm.googleapis.com/fcm/send/x", "keys": Browser().keys()}
        assert daemon.ask("alice", "POST", "/notification/subscribe", body).status == 200
        refused = daemon.ask("alice", "POST", "/notifications/send", {"title": "t", "body": "b"})
        assert (refused.status, refused.json()["code"]) == (503, "push_unavailable")
        assert "generate-vapid-keys" in refused.json()["message"] + refused.json().get("details", "")
        assert daemon.ask("alice", "GET", "/notification/key").json()["code"] == "push_unavailable"
    finally:
        daemon.stop()

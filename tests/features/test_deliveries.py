"""The door to the queues: accepting messages, and requests that come again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from agentproxy.errors import DELIVERY_SETTLED, TOO_MANY_REQUESTS, Refusal
from agentproxy.features.deliveries import QUEUE_LIMIT, Deliveries, NewMessage
from agentproxy.model.delivery import Delivery, DeliveryState
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.session import Session
from agentproxy.store import Store
from tests.features.test_queueing import putting_back
from tests.store.making import a_session, a_store

SESSION = a_session()


class Everybody:
    """Lets everybody do everything."""

    async def permitted(self, principal: Principal, session_id: str, verb: str) -> Session:
        return SESSION


class Queue:
    """Notes what it was given."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self.told: Deferred[None] = Deferred()
        self.full = False

    def add(self, delivery: Delivery) -> None:
        self.added.append(delivery.id)
        self.told.callback(None)

    def waiting(self) -> list[Delivery]:
        return cast(Any, range(QUEUE_LIMIT)) if self.full else []

    def known(self, delivery_id: str) -> None:
        return None


async def opened(directory: Path, session: Session = SESSION) -> tuple[Store, Deliveries, Queue]:
    """Return a store with a session, and its queue behind the door."""
    store = a_store(directory)
    await store.open()
    await store.add_session(session, [])
    deliveries, queue = Deliveries(store, Everybody(), cast(Any, reactor)), Queue()
    deliveries.opened(session.id, cast(Any, queue))
    return store, deliveries, queue


def test_a_message_whose_sender_hangs_up_is_queued_all_the_same(tmp_path: Path) -> Any:
    """It is committed by then, and whoever asks again with the same key is told of it: so it has to be typed."""

    async def steps() -> None:
        store, deliveries, queue = await opened(tmp_path)
        try:
            sending = Deferred.fromCoroutine(deliveries.send(LOCAL, SESSION.id, NewMessage("hello"), "key"))
            sending.addErrback(lambda failure: failure.trap(CancelledError))
            sending.cancel()
            await queue.told
            again, new = await deliveries.send(LOCAL, SESSION.id, NewMessage("hello"), "key")
            assert (queue.added, new) == ([again.id], False)
        finally:
            await store.close()

    return ensureDeferred(steps())


def test_a_full_queue_refuses_what_is_new_alone(tmp_path: Path) -> Any:
    """Who asks again about a message that was accepted is told of it; the key of one that was refused can be used again."""

    async def steps() -> None:
        store, deliveries, queue = await opened(tmp_path)
        try:
            first, _new = await deliveries.send(LOCAL, SESSION.id, NewMessage("hello"), "key")
            queue.full, queue.told = True, Deferred()
            assert await deliveries.send(LOCAL, SESSION.id, NewMessage("hello"), "key") == (first, False)
            for key in (None, "other"):
                try:
                    await deliveries.send(LOCAL, SESSION.id, NewMessage("hello"), key)
                except Refusal as refusal:
                    assert refusal.kind is TOO_MANY_REQUESTS
                else:
                    raise AssertionError("a message too many was accepted")
            queue.full = False
            assert (await deliveries.send(LOCAL, SESSION.id, NewMessage("later"), "other"))[1]
        finally:
            await store.close()

    return ensureDeferred(steps())


def test_what_is_sent_again_is_typing_while_it_is_typed(tmp_path: Path) -> Any:
    """It can be taken back before, and not any more then."""

    async def steps() -> None:
        store, deliveries, _queue = await opened(tmp_path, a_session("s"))
        scene, agent = putting_back()
        scene.crash()
        try:
            scene.ledger, scene.holder = cast(Any, deliveries), "bob"
            scene.begin()
            deliveries.opened("s", scene.queue)

            async def until(delivery_id: str, state: DeliveryState) -> None:
                for _look in range(1000):
                    if (now := await deliveries.get(LOCAL, "s", delivery_id)).state is state:
                        return
                    scene.clock.advance(0.01)
                raise AssertionError(f"it is {now.state.value} and does not become {state.value}")

            one, _new = await deliveries.send(LOCAL, "s", NewMessage("hello", expires_in=0.001))
            await until(one.id, DeliveryState.EXPIRED)
            scene.holder, agent.sending = None, Deferred()
            await deliveries.retry(LOCAL, "s", one.id)
            await until(one.id, DeliveryState.TYPING)
            try:
                await deliveries.withdraw(LOCAL, "s", one.id)
            except Refusal as refusal:
                assert refusal.kind is DELIVERY_SETTLED
            else:
                raise AssertionError("what is being typed was taken back")
            agent.sending.callback(None)
            await until(one.id, DeliveryState.DELIVERED)
            assert agent.entered == ["hello"]
        finally:
            scene.crash()
            await store.close()

    return ensureDeferred(steps())

"""Transcripts: read page by page, searched, exported, and given to a new session as what was said before. Also after the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from agentproxy.features.looking import Shown, VisibleSessions
from agentproxy.model.message import Message
from agentproxy.model.principal import Principal
from agentproxy.store import Store

PAGE = 200


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages; ``more`` says whether there are others behind them."""

    messages: Sequence[Message]
    more: bool


class Transcripts:
    """See the module."""

    def __init__(self, store: Store, sessions: VisibleSessions) -> None:
        self._store = store
        self._sessions = sessions

    async def page(
        self, caller: Principal, session_id: str, after: int, limit: int, words: Sequence[str]
    ) -> MessagePage:
        """Return at most *limit* messages with ids above *after* that hold every one of *words*, in any case.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self._sessions.permitted(caller, session_id, "session.read")
        found = await self._store.messages(session_id, after, limit + 1, words)
        return MessagePage(found[:limit], len(found) > limit)

    async def last(self, caller: Principal, session_id: str, limit: int) -> MessagePage:
        """Return the last *limit* messages.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self._sessions.permitted(caller, session_id, "session.read")
        return MessagePage(await self._store.last_messages(session_id, limit), False)

    async def whole(self, caller: Principal, session_id: str) -> tuple[Shown, AsyncIterator[Sequence[Message]]]:
        """Return a session and its messages in pages.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        return await self._sessions.get(caller, session_id), self._pages(session_id)

    async def _pages(self, session_id: str) -> AsyncIterator[Sequence[Message]]:
        after = -1
        while found := await self._store.messages(session_id, after, PAGE):
            yield found
            after = found[-1].id

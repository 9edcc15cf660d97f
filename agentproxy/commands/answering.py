"""An agent's answer to a message, printed while it is written."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from queue import SimpleQueue

import click

from agentproxy.client import Client, ClientError, Unreachable, calls
from agentproxy.client.results import Delivery, Event
from agentproxy.commands.growing import repainted

DONE = ("answered", "refused", "expired", "withdrawn", "uncertain")


class Happenings:
    """What happens in a session, as it happens. Threads read it, so that Ctrl-C interrupts whoever waits for it.

    :ivar are_over: whether there is nothing more to read.
    """

    def __init__(self, client: Client, session_id: str) -> None:
        self._client = client
        self._session_id = session_id
        self._cursor = client.cursor(session_id)
        self._found: SimpleQueue[Event | ClientError | None] = SimpleQueue()
        self._told = False
        self.are_over = False
        threading.Thread(target=self._read_events, daemon=True).start()
        if sys.stdout.isatty():
            threading.Thread(target=self._read_changes, daemon=True).start()

    def __iter__(self) -> Iterator[Event | None]:
        """Yield each event, and None when a message has a new text.

        :raises ClientError: there is nothing more to read.
        """
        while True:
            found = self._found.get()
            if isinstance(found, ClientError):
                self.are_over = True
                raise found
            if found is None:
                self._told = False
            yield found

    def skip(self) -> None:
        """Forget what happened until now, but for the reason why there is nothing more to read."""
        while not self._found.empty():
            found = self._found.get()
            self._told = False
            if isinstance(found, ClientError):
                self._found.put(found)
                return

    def _read_events(self) -> None:
        after, end = self._cursor, None
        while end is None:
            try:
                for event in self._client.events(self._session_id, after=after):
                    after = event.id
                    self._found.put(event)
                end = ClientError("the session is gone")
            except Unreachable:
                time.sleep(1)  # until the server is there again
            except ClientError as error:
                end = error
        self._found.put(end)

    def _read_changes(self) -> None:
        since: datetime | None = None
        while True:
            try:
                changed = self._client.do(calls.wait_message(self._session_id, since))
            except Unreachable:
                time.sleep(1)
                continue
            except ClientError:
                return  # whoever reads the events says why
            if changed is not None:
                since = changed
                if not self._told:
                    self._told = True
                    self._found.put(None)


class Answer:
    """The agent's answer to one delivery: on a terminal it is shown while it grows, elsewhere when it stands.

    :param decide: told the id of an approval that the agent waits for.
    """

    def __init__(self, client: Client, session_id: str, happenings: Happenings, decide: Callable[[str], None]) -> None:
        self._client = client
        self._session_id = session_id
        self._happenings = happenings
        self._decide = decide
        self._is_shown_growing = sys.stdout.isatty()
        self._above = ""
        self._shown = ""
        happenings.skip()
        last = client.messages(session_id, last=1)
        self._known = last[-1].id if last else -1

    def print_to_end(self, delivery: Delivery) -> Event:
        """Print the answer until the delivery has come to its end, or the session; return the event that says so."""
        for event in self._happenings:
            if event is None or event.type.startswith("message"):
                if self._is_shown_growing:
                    self._show()
            elif event.type == "approval" and event.data.get("state") == "waiting":
                self._pause()
                self._decide(str(event.data.get("id")))
            elif event.type == "attention" and event.data.get("wanted") and event.data.get("kind") != "approval":
                said = (str(event.data.get(name) or "") for name in ("line", "action"))
                self._pause()
                click.secho(f"\n{event.data.get('kind')}: {' '.join(filter(None, said))}", fg="yellow", err=True)
            elif event.type == "session.ended" or _is_over(event, delivery):
                self._show()
                click.echo()
                return event
        raise AssertionError("happenings end by raising")

    def _show(self) -> None:
        text = self._text()
        if not text.startswith(self._above):
            self._above = ""
        text = text[len(self._above) :]
        width, height = shutil.get_terminal_size()
        click.echo(repainted(self._shown, text, width, height), nl=False)
        self._shown = text

    def _pause(self) -> None:
        """Print what there is, and leave it where it stands: something else is printed below it."""
        self._show()
        self._above += self._shown
        self._shown = ""

    def _text(self) -> str:
        found = self._client.messages(self._session_id, after=self._known if self._known >= 0 else None)
        return "\n".join(one.content.rstrip().expandtabs() for one in found if one.role == "agent")


def _is_over(event: Event, delivery: Delivery) -> bool:
    about = event.data.get("id") == delivery.delivery_id
    return event.type == "delivery" and about and str(event.data.get("state")) in DONE

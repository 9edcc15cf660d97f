"""A WebSocket after the switch of protocols: bytes both ways, each way ends by itself."""

from __future__ import annotations

from agentproxy.gateway.framing import EndlessBody
from agentproxy.gateway.relay import ClientSide, Relay
from agentproxy.gateway.upstream import AgentConnection


class Tunnel:
    """Two connections that have left HTTP; takes the place of the exchange that led here.

    :param agent: the agent server's connection; the tunnel is its user from now on.
    :ivar body: what the client sends has no end but its connection's.
    :ivar begun: the client has got something of the answer.
    :ivar over: nothing more happens.
    """

    tunnel = True
    begun = True
    over = False
    _agent_ended = False
    _client_ended = False

    def __init__(self, relay: Relay, client: ClientSide, agent: AgentConnection, session_id: str) -> None:
        self.session_id = session_id
        self.body = EndlessBody()
        self._relay = relay
        self._client = client
        self._agent: AgentConnection | None = agent
        self._touched = relay.moment
        relay.counts.tunnels += 1
        agent.user = self

    # What the client does.

    def client_data(self, data: bytes) -> bytes:
        """Pass bytes to the agent server; nothing is left over."""
        self._touched = self._relay.moment
        self._relay.counts.received_bytes += len(data)
        if self._agent is not None:
            self._agent.write(data)
        return b""

    def client_ended(self) -> None:
        """Close the client's half; the whole when the other half is closed already."""
        self._client_ended = True
        if self._agent is not None and not self._agent_ended:
            self._agent.end_writing()
        else:
            self._end()
            self._client.finish(True)

    def client_lost(self) -> None:
        """The client is gone: the agent server's connection ends too."""
        self._end()

    def client_full(self) -> None:
        """The client reads slowly: stop reading from its agent server."""
        if self._agent is not None:
            self._agent.hold(True)

    def client_drained(self) -> None:
        """The client has caught up."""
        self._touched = self._relay.moment
        if self._agent is not None:
            self._agent.hold(False)

    # What the agent server does; see AgentUser.

    def agent_data(self, data: bytes) -> None:
        """Pass bytes to the client."""
        relay = self._relay
        self._touched = relay.moment
        relay.counts.sent_bytes += len(data)
        self._client.write(data)

    def agent_ended(self) -> None:
        """Close the agent server's half; the whole when the other half is closed already."""
        self._agent_ended = True
        if self._client_ended:
            self._end()
            self._client.finish(True)
        else:
            self._client.end_writing()

    def agent_lost(self, clean: bool) -> None:
        """End the client's connection, cleanly if this one has ended so."""
        self._agent = None
        if self.over:
            return
        self._end()
        if clean or self._client_ended:
            self._client.finish(True)
        else:
            self._relay.counts.failed += 1
            self._client.abort()

    def agent_full(self) -> None:
        """Read no more from the client for now."""
        self._client.hold(True)

    def agent_drained(self) -> None:
        """Read on."""
        self._touched = self._relay.moment
        self._client.hold(False)

    # Ends.

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        self._relay.counts.tunnels -= 1
        agent, self._agent = self._agent, None
        if agent is None:
            return
        if self._client_ended:
            agent.close()  # the last bytes of the client are still on their way
        else:
            agent.abort()

    def cut(self) -> None:
        """End it now: its session has ended, or the caller may no longer use it."""
        if not self.over:
            self._end()
            self._client.abort()

    def check(self, now: float) -> None:
        """Cut a tunnel in which nobody has spoken for too long."""
        if not self.over and now - self._touched > self._relay.options.idle_timeout:
            self.cut()

    def streams(self) -> bool:
        """Return False: events are counted elsewhere."""
        return False

"""The commands: where each is, and what it does in one line. ``--help`` and shells that complete a name import nothing else."""

from __future__ import annotations

COMMANDS = {
    "server": ("", "Run the server in the foreground."),
    "config": ("cli", "Look at the configuration."),
    "login": ("commands.connection", "Remember a server's address and your key, after trying them."),
    "logout": ("commands.connection", "Forget the address and the key."),
    "start": ("commands.sessions", "Start a session, with a first MESSAGE or none; prints its id."),
    "list": ("commands.sessions", "List sessions, newest first."),
    "show": ("commands.sessions", "Show one session."),
    "stop": ("commands.sessions", "End a session's agent; its history stays."),
    "restart": ("commands.sessions", "Begin a session's next incarnation."),
    "delete": ("commands.sessions", "End sessions and take them from the lists."),
    "interrupt": ("commands.sessions", "Press the agent's own interrupt keys."),
    "send": ("commands.talking", "Queue a MESSAGE (or stdin) for the agent."),
    "ask": ("commands.talking", "Send a MESSAGE (or stdin), wait, and print the agent's answer."),
    "chat": ("commands.talking", "Talk with the agent; each line is a message."),
    "messages": ("commands.talking", "Print what was said in a session, after its end too."),
    "export": ("commands.talking", "Write a session with its whole transcript."),
    "attach": ("commands.attaching", "Put the agent's terminal into this one."),
    "log": ("commands.following", "Print what a session's agent server has printed."),
    "events": ("commands.following", "Print the journal of a session, or of all that you may see."),
    "approvals": ("commands.deciding", "List what agents ask leave for, or answer an APPROVAL."),
    "share": ("commands.deciding", "Share a session by a link, or with somebody who is known."),
    "token": ("commands.deciding", "List, make and revoke your API tokens."),
    "doctor": ("commands.doctor", "Look at this machine as the server would, and say what to do."),
    "admin": ("commands.admin", "Make accounts and tokens for this machine's server."),
    "audit": ("commands.admin", "Look at the audit: who did what, and whether it was allowed."),
    "helpers": ("commands.around", "Small tools for start-up scripts and operators."),
    "store": ("commands.store", "Check, copy and write out the database; rotate its key."),
    "completion": ("commands.completion", "Print the completion script of a SHELL."),
    "client": ("commands.peer", "Talk to one agent server, as agentapi-proxy's client does."),
}
"""Name to module (none for what reads its own arguments) and summary, in the order of the help; a name that Python needs has ``_``
behind it there."""

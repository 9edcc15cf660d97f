"""What the screens of each agent type look like, as data. The rules that read it are in :mod:`agentproxy.embedded.extraction`.

To follow a new release of an agent: change its row here, and add a screen to ``tests/embedded/screens``.
"""

from __future__ import annotations

from dataclasses import dataclass

ESCAPE, CTRL_C = b"\x1b", b"\x03"

BUSY = (
    r"(?i)\besc to interrupt",
    r"(?i)\(esc to cancel,",
    r"(?i)\besc (?:again to )?interrupt\b",
    r"(?i)\bctrl[-+]c (?:to (?:interrupt|stop)|interrupts)",
)
"""Signs of work that are looked for whatever the type is."""

RULED, FRAMED, COMPOSER, BARRED, PROMPT = "ruled", "framed", "composer", "barred", "prompt"
"""How an input box is drawn: between two rules, in a frame, as a row that begins with ``›``, above a bar, as a prompt."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of an answer that are no words of the agent: from one that matches ``first`` to one that matches ``last``.

    ``naming`` must stand in the first three of them.
    """

    first: str
    naming: str
    last: str


@dataclass(frozen=True, slots=True)
class Format:
    """How one agent type draws, and which keys it knows.

    ``boxes``: how its input box is drawn, tried in this order. ``status``: patterns of rows that tell its state; they are
    taken off the end of a message. ``busy``: signs of work besides :data:`BUSY`. ``echo_tail``: rows below the echoed text
    that belong to it. ``turn_end``: row that ends a turn, and ``answer``: row that begins one, where a pause in an answer
    cannot be told from its end otherwise.
    ``tools``: calls that are no words. ``interrupt``: keys, each half a second after the other.
    ``settle``: seconds of quiet between the pasted text and Enter. ``before_start``: what its terminal is given first.
    """

    boxes: tuple[str, ...] = (RULED, FRAMED, PROMPT)
    status: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    echo_tail: int = 0
    turn_end: str = ""
    answer: str = ""
    tools: tuple[Block, ...] = ()
    interrupt: tuple[bytes, ...] = (ESCAPE,)
    settle: float = 0.08
    before_start: bytes = b""


FORMATS = {
    "claude": Format(
        status=(r"^[✻✶✳✢✽·*] \S+… ?(?:\(|$)", r"^[✻✶✳✢✽·*] \w+ for (?:\d+[hms] ?)+", r"^\s*⎿\s+Tip: "),
        tools=(Block(r"^[●⏺] coder - coder_report_task \(MCP\)", "", r"Thanks for reporting!|^\s*[}\]]\s*$"),),
        settle=0.2,
    ),
    "codex": Format(
        boxes=(COMPOSER,),
        status=(r"^• Working \(", r"^[─ ]*Worked for ", r"^─{15,}"),
        busy=(r"^◦ Running ", r"^• Reconnecting"),
        turn_end=r"^[─ ]*Worked for |^■ ",
        answer=r"^• ",
        tools=(Block(r"^• Called", "Coder.coder_report_task", r"Thanks for reporting!|^\s*└ .*"),),
        settle=0.2,
    ),
    "gemini": Format(status=(r"^\s*[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] .*\(esc to cancel,",), echo_tail=1),
    "opencode": Format(boxes=(BARRED,), status=(r"^\s*▣  ",), echo_tail=2, interrupt=(ESCAPE, ESCAPE)),
    "aider": Format(
        boxes=(PROMPT,), status=(r"^Tokens: [\d.,k]+ sent",), busy=(r"^[░█ ]{2,}", "^Waiting for "), interrupt=(CTRL_C,)
    ),
    "goose": Format(interrupt=(CTRL_C,)),
    "copilot": Format(echo_tail=1),
    "amp": Format(boxes=(FRAMED,), before_start=b" \x08", interrupt=(ESCAPE, ESCAPE)),
    "cursor": Format(echo_tail=1, interrupt=(CTRL_C,)),
    "auggie": Format(),
    "amazonq": Format(interrupt=(CTRL_C,)),
    "custom": Format(interrupt=(CTRL_C,)),
}
ALIASES = {"cursor-agent": "cursor", "q": "amazonq"}


def canonical_type(name: str, program: str) -> str:
    """Return the agent type for ``--type`` *name*, or guessed from the exact *program* name when it is empty.

    :raises ValueError: *name* is no agent type.
    """
    if name:
        found = ALIASES.get(name, name)
        if found not in FORMATS:
            raise ValueError(f"invalid agent type: {name}")
        return found
    guess = ALIASES.get(program, program)
    return guess if guess in FORMATS else "custom"

"""JSON that is refused, and why, in the words of the parser of agentapi (Go's ``encoding/json``). Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

LITERALS = ("null", "true", "false")


class JsonError(ValueError):
    """A text is not JSON; the text of the exception is the reason."""


def parse(text: str) -> Any:
    """Return the value of a JSON *text*.

    :raises JsonError: it is none; strictly so, ``NaN`` and numbers that no float holds are none either.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        raise JsonError(_reason(text, error)) from None
    except RecursionError:
        raise JsonError("exceeded max depth") from None


def _no_constant(name: str) -> NoReturn:
    if name.startswith("-"):
        raise JsonError("invalid character 'I' in numeric literal")
    raise JsonError(f"invalid character '{name[0]}' looking for beginning of value")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JsonError(f"json: cannot unmarshal number {text} into Go value of type float64")
    return value


_SAID = (
    ("Invalid control character", 0, "in string literal"),
    ("Invalid \\", 1, "in string escape code"),
    ("Extra data", 0, "after top-level value"),
    ("Expecting property name", 0, "looking for beginning of object key string"),
    ("Expecting ':' delimiter", 0, "after object key"),
)
"""What Python's parser says, how far behind its place the wrong character stands, and how Go's parser puts it."""


def _reason(text: str, error: json.JSONDecodeError) -> str:
    at, said = error.pos, error.msg
    if said.startswith("Unterminated string") or at >= len(text.rstrip(" \t\r\n")):
        return "unexpected end of JSON input"
    for begins, behind, where in _SAID:
        if said.startswith(begins):
            return _invalid(text, min(at + behind, len(text) - 1), where)
    if said.startswith("Illegal trailing comma"):
        at += 1 + len(text[at + 1 :]) - len(text[at + 1 :].lstrip())
        return _invalid(text, at, f"looking for beginning of {'object key string' if text[at] == '}' else 'value'}")
    if "',' delimiter" in said:
        return _invalid(text, at, "after object key:value pair" if _in_object(text[:at]) else "after array element")
    return _no_value(text, at)


def _no_value(text: str, at: int) -> str:
    """Return why no value begins at a place where one was expected; Go sees a space behind the end."""
    for literal in LITERALS:
        if text[at] == literal[0]:
            same = next(n for n in range(1, 6) if text[at : at + n + 1] != literal[: n + 1])
            place, wanted = f"in literal {literal} (expecting '{literal[same]}')", at + same
            return _invalid(text + " ", wanted, place)
    if text[at] == "-":
        return _invalid(text + " ", at + 1, "in numeric literal")
    return _invalid(text, at, "looking for beginning of value")


def _in_object(before: str) -> bool:
    """Say whether the innermost bracket that is open at the end of *before* is that of an object."""
    depth: list[str] = []
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', before, re.DOTALL):
        if mark in "[{":
            depth.append(mark)
        elif mark in "]}" and depth:
            depth.pop()
    return bool(depth) and depth[-1] == "{"


def _invalid(text: str, at: int, where: str) -> str:
    """Return the sentence about one character, of which only the first byte is looked at."""
    byte = text[at].encode("utf-8", "replace")[0]
    named = {0x27: "\\'", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x5C: "\\\\", 0x08: "\\b", 0x0C: "\\f"}
    shown = named.get(byte) or (f"\\x{byte:02x}" if byte < 0x20 or byte == 0x7F else chr(byte))
    return f"invalid character '{shown}' {where}"

"""Request bodies and query strings into typed values, and their faults into refusals that name the path.

Every fault is ``INVALID_REQUEST`` (400) whose details start with a JSON path such as ``$.environment.1A``.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from twisted.web.http import Request

from agentproxy.errors import INVALID_REQUEST, Refusal

T = TypeVar("T", bound=msgspec.Struct)

_PATH = re.compile(r"^(?P<sentence>.*?) - at `(?P<path>\$[^`]*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def invalid(path: str, sentence: str) -> Refusal:
    """Return the refusal of a value at ``path``."""
    return Refusal(INVALID_REQUEST, f"{path}: {sentence}")


def header(request: Request, name: str) -> str | None:
    """Return the first header of a name as text, each byte a character: what a client sends need not be UTF-8."""
    found = request.getHeader(name.encode("ascii"))
    return found.decode("latin-1") if found is not None else None


def body(request: Request, shape: type[T]) -> T:
    """Return the JSON body of ``request`` as ``shape``; an empty body is an empty object.

    :raises Refusal: the body is not JSON, or not of that shape.
    """
    content = request.content
    data: bytes = content.read() if content is not None else b""
    return decode(data, shape)


def decode(data: bytes, shape: type[T]) -> T:
    """Return ``data`` as ``shape``; see :func:`body`."""
    try:
        return msgspec.json.decode(data if data.strip() else b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise _shape_fault(str(error), data, shape) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid("$", f"expected a JSON object ({_lower(str(error))})") from None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _shape_fault(text: str, data: bytes, shape: type[msgspec.Struct]) -> Refusal:
    match = _PATH.match(text)
    sentence, path = (match["sentence"], match["path"]) if match else (text, "$")
    unknown = _UNKNOWN.match(sentence)
    if unknown:
        name = unknown["name"]
        near = difflib.get_close_matches(name, _fields_at(shape, path), n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        return invalid(f"{path}.{name}", f"unknown field{hint}")
    return invalid(_whole_path(path, data), _in_words(sentence, shape, path))


_JSON_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def _in_words(sentence: str, shape: type[msgspec.Struct], path: str) -> str:
    """Return msgspec's sentence with the types of JSON, and with the choices where a value is none of them."""
    plain = re.sub(r"`([^`]*)`", lambda found: _json_words(found[1]), sentence)
    got = plain.removeprefix("Invalid enum value ")
    choices = _choices_at(shape, path) if got != plain else ()
    return f"expected {' or '.join(choices)}, got {got}" if choices else _lower(plain)


def _json_words(types: str) -> str:
    return re.sub(r"\w+", lambda word: _JSON_WORDS.get(word[0], word[0]), types)


def _choices_at(shape: type[msgspec.Struct], path: str) -> tuple[str, ...]:
    """Return what the field at ``$.name`` may be."""
    hints = get_type_hints(shape)
    options = (hints.get(path.removeprefix("$."), None),)
    while any(get_args(option) for option in options):
        options = tuple(inner for option in options for inner in get_args(option) or (option,))
    return tuple(option for option in options if isinstance(option, str))


def _fields_at(shape: type[msgspec.Struct], path: str) -> list[str]:
    """Return the field names of the object at ``path`` (``$`` or ``$.name``; our bodies nest no deeper)."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    name = path.removeprefix("$").lstrip(".")
    if not name:
        return list(fields)
    inner = fields.get(name)
    for option in getattr(inner, "__args__", (inner,)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return [field.encode_name for field in msgspec.structs.fields(option)]
    return []


def _whole_path(path: str, data: bytes) -> str:
    """Return ``path`` with msgspec's ``[...]`` (some key of a map) replaced by the key that is at fault."""
    prefix, mark, rest = path.partition("[...]")
    if not mark or rest:
        return path
    try:
        value: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the rest is no JSON, or too deep to be read
        return path
    for name in prefix.removeprefix("$").strip(".").split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(item, str):
                return f"{prefix}.{key}"
    return path


def query(request: Request) -> dict[str, str]:
    """Return the query of ``request``, the first value of each name.

    :raises Refusal: a name or value is not UTF-8.
    """
    found: dict[str, str] = {}
    for name, values in (request.args or {}).items():
        try:
            found[name.decode()] = values[0].decode()
        except UnicodeDecodeError:
            raise Refusal(INVALID_REQUEST, "the query must be UTF-8") from None
    return found


def query_as(request: Request, shape: type[T]) -> T:
    """Return the query of ``request`` as ``shape``; names that the shape does not have are left alone.

    :raises Refusal: a value is not of its type.
    """
    known = {field.encode_name for field in msgspec.structs.fields(shape)}
    found = {name: value for name, value in query(request).items() if name in known and value != ""}
    try:
        return msgspec.convert(found, shape, strict=False)
    except msgspec.ValidationError as error:
        match = _PATH.match(str(error))
        sentence, path = (match["sentence"], match["path"].removeprefix("$.")) if match else (str(error), "query")
        got = f", got {found[path]!r}" if path in found else ""
        raise invalid(path, _lower(sentence.replace("`", "")) + got) from None


def whole_number(values: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return the query value ``name`` as an integer from ``low`` to ``high``.

    :raises Refusal: it is something else.
    """
    text = values.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise invalid(name, f"expected a whole number from {low} to {high}, got {text!r}")
    return int(text)


def one_of(values: dict[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    """Return the query value ``name``, one of ``choices``.

    :raises Refusal: it is something else.
    """
    text = values.get(name, default)
    if text not in choices:
        raise invalid(name, f"expected one of {', '.join(choices)}, got {text!r}")
    return text


def truth(values: dict[str, str], name: str) -> bool:
    """Return whether the query says yes to ``name`` (present without a value, ``1``, ``true``, ``yes``).

    :raises Refusal: it is something else.
    """
    text = values.get(name)
    if text is None or text.lower() in ("0", "false", "no"):
        return False
    if text.lower() in ("", "1", "true", "yes"):
        return True
    raise invalid(name, f"expected true or false, got {text!r}")

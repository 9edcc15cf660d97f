"""What one call of the API is: a request as data, and how its answer is read. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from agentproxy.client.failures import ClientError

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how to read its answer.

    :param query: values that are None are left out.
    :param body: sent as JSON; None sends nothing.
    :param repeatable: whether sending it twice does no more than sending it once.
    :param patience: seconds that the server may take.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    patience: float = 60.0

    @property
    def target(self) -> str:
        """Return path and query as they are sent."""
        given = {name: _text(value) for name, value in self.query.items() if value is not None}
        return self.path + ("?" + urlencode(given) if given else "")

    def result(self, answer: bytes) -> T:
        """Return what an answer means.

        :raises ClientError: it is none of this API: another program listens there, or one of another version.
        """
        try:
            return self.read(answer)
        except (msgspec.MsgspecError, AttributeError, KeyError, TypeError) as error:
            said = answer[:80].decode("utf-8", "replace")
            raise ClientError(f"{self.method} {self.path}: the answer is not one of an agentproxy: {said!r}") from error

    @property
    def content(self) -> bytes | None:
        """Return the body as it is sent."""
        return None if self.body is None else msgspec.json.encode(self.body)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def answer_as(shape: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(shape, strict=False).decode


def field_as(name: str, shape: Any) -> Callable[[bytes], Any]:
    def read(answer: bytes) -> Any:
        found = msgspec.json.decode(answer).get(name)
        return msgspec.convert(found, shape, strict=False)

    return read


def nothing(_answer: bytes) -> None:
    return None


def given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def session_path(session_id: str, rest: str = "") -> str:
    return f"/sessions/{quote(session_id, safe='')}{rest}"


def as_method_of(make: Callable[..., Call[Any]], method: Method) -> Method:
    """Let a client's method show itself as the function that makes its calls: name, arguments, docstring, and what a call reads."""
    shown = signature(make)
    client = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = shown.replace(  # type: ignore[attr-defined]
        parameters=[client, *shown.parameters.values()],
        return_annotation=str(shown.return_annotation).removeprefix("Call[").removesuffix("]"),
    )
    method.__name__, method.__doc__ = make.__name__, make.__doc__
    return method

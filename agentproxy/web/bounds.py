"""Bounds of values in bodies, as the OpenAPI document tells them.

The features check them, with sentences of their own; here they are only told, so that a client can know them beforehand.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

TEN_YEARS = 10 * 366 * 86_400
"""Seconds."""

Text = Annotated[str, Meta(extra_json_schema={"minLength": 1, "pattern": r"\S"})]
"""A text that says something."""
WithinAYear = Annotated[
    float,
    Meta(description="Seconds, at most a year.", extra_json_schema={"exclusiveMinimum": 0, "maximum": 31_536_000}),
]
WithinTenYears = Annotated[
    float, Meta(description="Seconds, at most ten years.", extra_json_schema={"minimum": 1, "maximum": TEN_YEARS})
]
Amount = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
AccountName = Annotated[str, Meta(extra_json_schema={"pattern": r"^[A-Za-z0-9_.@+-]{1,128}$"})]
Level = Annotated[str, Meta(extra_json_schema={"enum": ["read", "write"]})]
"""How much of a session is shared."""

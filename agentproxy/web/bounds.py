"""Bounds of values in bodies, queries and answers, as the OpenAPI document tells them.

The features check what comes in, with sentences of their own; here it is only told, so that a client can know it beforehand.
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
Count = Annotated[int, Meta(ge=0)]
Limit = Annotated[int, Meta(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[
    str,
    Meta(description="The number of the last event that the reader has, or latest.", pattern="^([0-9]{1,18}|latest)$"),
]

"""What files of agentapi-proxy say otherwise: older places of keys, and keys that have no effect here."""

from __future__ import annotations

from typing import Any

FLAT_AUTH = ("header_name", "keys_file", "api_keys")

WITHOUT_EFFECT = {
    "enable_multiple_users": "every user has a HOME of their own; see sessions.per_user_home",
    "persistence": "sessions are always kept, in the store; see store.url and sessions.adopt",
    "auth.aws": "an AWS key id proves nothing about who sends it",
}
"""Accepted keys that change nothing, and what is true instead."""


def adopt(tree: dict[str, Any], warnings: list[str]) -> None:
    """Move keys of older forms to where they belong now, and drop those without effect, with a warning each."""
    _take_persistence(tree, warnings)
    for path, instead in WITHOUT_EFFECT.items():
        if _drop(tree, path):
            warnings.append(f"{path} has no effect: {instead}.")
    auth = tree.get("auth")
    if isinstance(auth, dict) and any(name in auth for name in FLAT_AUTH):
        _nest(auth)
        warnings.append(f"auth: {', '.join(FLAT_AUTH)} now stand below auth.static; they were taken as if they did.")


def _take_persistence(tree: dict[str, Any], warnings: list[str]) -> None:
    """Read ``persistence.enabled`` as ``sessions.adopt``, which decides unless it stands there itself."""
    persistence = tree.get("persistence")
    sessions = tree.get("sessions", {})
    if not isinstance(persistence, dict) or not isinstance(sessions, dict):
        return
    enabled = persistence.pop("enabled", None)
    if enabled is False and "adopt" not in sessions:
        tree["sessions"] = {**sessions, "adopt": False}
        warnings.append("persistence.enabled: false was taken as sessions.adopt: false; history is kept all the same.")
    if not persistence:
        del tree["persistence"]


def _drop(tree: dict[str, Any], path: str) -> bool:
    *outer, last = path.split(".")
    place: Any = tree
    for name in outer:
        place = place.get(name) if isinstance(place, dict) else None
    return isinstance(place, dict) and place.pop(last, place) is not place


def _nest(auth: dict[str, Any]) -> None:
    static = auth.get("static")
    if static is None:
        static = auth["static"] = {"enabled": auth.get("enabled", False)}
    if isinstance(static, dict):
        for name in FLAT_AUTH:
            if name in auth:
                static.setdefault(name, auth.pop(name))

"""Options of notifications to browsers."""

from __future__ import annotations

from dataclasses import dataclass

from agentproxy.config.fields import option, positive

SERVICES = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    "*.push.services.mozilla.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """Notifications to browsers by Web Push; `agentproxy helpers generate-vapid-keys` makes the keys."""

    vapid_public_key: str | None = option(
        None, "By which push services know this server: base64url (also `VAPID_PUBLIC_KEY`)."
    )
    vapid_private_key: str | None = option(
        None, "Its private half: base64url or PEM (also `VAPID_PRIVATE_KEY`).", secret=True
    )
    vapid_contact_email: str | None = option(
        None, "Whom a push service writes to when something is wrong (also `VAPID_CONTACT_EMAIL`)."
    )
    allowed_hosts: tuple[str, ...] = option(
        SERVICES,
        "Push services that browsers may name: `HOST`, `HOST:PORT`, or `*.DOMAIN` for public addresses.",
        danger="The server sends requests to whatever it is given of these; a host that is written out may be a private one.",
    )
    subscriptions_per_user: int = option(20, "Browsers of one user.", expected="a number above 0", check=positive)

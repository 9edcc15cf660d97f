"""Plain data and pure rules: what a session, an event, a principal is. No I/O and no Twisted in here."""

"""Who is let in, put together: identity, permissions, sharing and audit around the sessions, the web's routes and the gateway."""

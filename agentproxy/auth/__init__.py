"""Who is this? Keys, tokens and log-ins become principals here."""

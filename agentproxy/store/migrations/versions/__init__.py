"""The schema as a chain of steps; released ones are never changed."""

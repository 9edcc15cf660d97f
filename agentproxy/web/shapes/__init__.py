"""The shapes of answers and queries, for the OpenAPI document; bodies of requests have theirs beside the routes that read them.

The suite holds every JSON answer that it gets against these.
"""

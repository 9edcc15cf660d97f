"""All SQL of the server, run in threads behind ``async`` methods; one transaction is one named method."""

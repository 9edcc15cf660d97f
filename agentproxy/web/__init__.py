"""The faces: HTTP dialects over the features, with their paths, field names and error envelopes."""

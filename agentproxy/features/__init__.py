"""What the product promises, one file a promise. The faces call these; no rule lives in a face."""

"""Speaking to one running agent server: its HTTP contract, its event stream, what its answers mean."""

"""The embedded agent server: one terminal program behind agentapi's HTTP contract. It imports nothing else of agentproxy."""

"""What the benchmarks of the gateway start beside it: yardsticks, an agent server that costs little, and load."""

"""Which genes a candidate reads and writes, with its nulls and controls."""

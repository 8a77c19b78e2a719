"""From counts to scGPT's tokens."""

"""Search for super-weight-like parameters and measure what they do."""

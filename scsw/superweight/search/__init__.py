"""Step `search`: candidates of a scGPT model, and what is told of them."""

"""Step `quantize`: what rounding the weights costs."""

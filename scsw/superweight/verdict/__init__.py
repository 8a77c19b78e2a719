"""Step `verdict`: what the measured effects amount to."""

"""The implanted scalars, and whether the control arms showed what they must."""

"""GPU kernels of the packed forward pass."""

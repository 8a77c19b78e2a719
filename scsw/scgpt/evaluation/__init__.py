"""How well a model does on test donors, beside baselines."""

"""Step `prune`: ablation of candidates and controls on the test donors."""

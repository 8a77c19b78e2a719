"""Attention heads and MLPs: genes, effects, pathways and stages."""

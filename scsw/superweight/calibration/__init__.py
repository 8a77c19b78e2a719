"""How often a verdict is wrong, and how large an effect it takes, on models of simulated cohorts.

Run with ``make calibration``; what came out stands in docs/calibration.md.
"""

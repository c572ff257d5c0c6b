"""Measurements of the running service: `make bench`. Figures are printed, never asserted: machines are noisy."""

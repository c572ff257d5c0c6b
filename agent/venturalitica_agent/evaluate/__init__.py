"""Measuring and judging: pure functions from tables and predictions to numbers, and from numbers to a verdict."""

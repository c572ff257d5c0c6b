"""Audits every machine-learning training run against a versioned policy, without touching training code."""

__version__ = "0.1.0"

"""Policies: read from files, checked as a whole before anything is measured against them."""

from venturalitica_agent.policy.load import load_policies, load_policy, parse_policy

__all__ = ["load_policies", "load_policy", "parse_policy"]

"""Policies: read from files, checked as a whole before anything is measured against them."""

from venturalitica_agent.policy.load import load_one_policy, load_policies, load_policy, parse_policy

__all__ = ["load_one_policy", "load_policies", "load_policy", "parse_policy"]

"""The in-process companion of venturalitica-agent."""

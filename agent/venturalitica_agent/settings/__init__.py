"""What the agent was told: agent.yaml, the environment and `.env`, or what a bare folder gives away.

`load_settings` is the one entrance; everything it returns is frozen, absolute (no relative path is left) and checked.
"""

from venturalitica_agent.settings.load import default_agent_yaml, load_settings
from venturalitica_agent.settings.model import (
    AuditSettings,
    CacheSettings,
    SandboxSettings,
    Settings,
    StoreSettings,
    WebSettings,
)
from venturalitica_agent.settings.values import seconds_in

__all__ = [
    "AuditSettings",
    "CacheSettings",
    "SandboxSettings",
    "Settings",
    "StoreSettings",
    "WebSettings",
    "default_agent_yaml",
    "load_settings",
    "seconds_in",
]

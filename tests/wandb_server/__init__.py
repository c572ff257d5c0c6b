"""A server that speaks Weights & Biases' protocol, so that the real SDK can train, log and read back over loopback.

Nothing here imports the SDK or trusts it: queries are validated against an explicit schema, as on the real server.
"""

from .faults import Fault, Faults
from .server import WandbServer

__all__ = ["Fault", "Faults", "WandbServer"]

"""The companion of venturalitica-agent, for those who do hold the training code: `import venturalitica as vl`.

It hands the agent what it would otherwise have to find out: the policy, the audit data and which column plays which
role. Importing it is quick and tells nobody.
"""

from venturalitica.monitoring import monitor
from venturalitica.wrapping import wrap

__all__ = ["monitor", "wrap"]

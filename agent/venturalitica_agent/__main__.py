"""`python -m venturalitica_agent`: the same as the console script."""

from venturalitica_agent.cli import main

main()

"""``python -m attestor`` is ``attestor``."""

from attestor.cli.program import run

run()

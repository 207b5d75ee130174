"""``python -m attestor`` is ``attestor``."""

from attestor.cli import main

main()

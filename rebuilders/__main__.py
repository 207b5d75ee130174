"""``python -m rebuilders`` is ``attestor-rebuilder``."""

from rebuilders.cli import main

main()

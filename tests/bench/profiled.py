"""One role under cProfile; where its time went is written when it is drained: ``python -m tests.bench.profiled FILE …``."""

import cProfile
import sys

from attestor.cli.program import run

if __name__ == "__main__":
    target = sys.argv.pop(1)
    profile = cProfile.Profile()
    profile.enable()
    try:
        run()
    finally:
        profile.disable()
        profile.dump_stats(target)

"""P9: a process of the same user cannot read the signer's passphrases out of its memory."""

import subprocess
import sys

PROGRAM = """
import ctypes, sys
from attestor.app.hardening import close_memory
close_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
"""


def test_the_signer_is_not_dumpable():
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)

    assert said.stdout.strip() == "0"

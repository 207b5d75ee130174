"""What keeps a process's memory to itself: the signer holds passphrases, and the API may run as the same user (P9)."""

import ctypes
import os
import resource
from typing import Final

from attestor.core.errors import Unavailable

_PR_SET_DUMPABLE: Final = 4  # prctl(2), Linux


def close_memory() -> None:
    """No core dump, and no other process of this user may attach or read our memory; Linux only, elsewhere a no-op.

    Raises ``Unavailable`` ``memory-open`` when the system refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.uname().sysname != "Linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise Unavailable(
            "memory-open", f"The system refuses to close the signer's memory: {os.strerror(ctypes.get_errno())}."
        )

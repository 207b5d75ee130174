"""The deployment file ``attestor.toml``: decoded once, checked across, composed of frozen sections.

The room's rule: a :class:`Config` that exists is right, and nothing in it is a secret. A secret is the name of a
credential; only :meth:`Config.for_role` reads it, and only those of that role.
"""

from attestor.config.loading import Config, RoleView, ServedListener, load_config
from attestor.config.sections import (
    Canary,
    Content,
    Database,
    Embedded,
    Hsm,
    HsmNode,
    Listener,
    Log,
    Logging,
    Role,
    Signer,
    SigningKeySection,
)

__all__ = [
    "Canary",
    "Config",
    "Content",
    "Database",
    "Embedded",
    "Hsm",
    "HsmNode",
    "Listener",
    "Log",
    "Logging",
    "Role",
    "RoleView",
    "ServedListener",
    "Signer",
    "SigningKeySection",
    "load_config",
]

"""Text that must not show: passphrases."""

from typing import NoReturn


class Secret:
    """A passphrase that no repr, log line, traceback, pickle or encoder gives away; only :meth:`reveal` does.

    Not a dataclass: msgspec would encode one, field by field. Two secrets are equal only if they are the same object.
    """

    __slots__ = ("__text",)
    __text: str

    def __init__(self, text: str) -> None:
        """Keep ``text``, which stays in memory as long as this object."""
        object.__setattr__(self, "_Secret__text", text)

    def reveal(self) -> str:
        """The text itself, for the one call that needs it; never keep it under a name."""
        return self.__text

    def __repr__(self) -> str:
        return "<secret>"

    def __format__(self, _: str) -> str:
        return repr(self)

    def __setattr__(self, name: str, _: object) -> NoReturn:
        raise AttributeError(f"A secret is frozen: {name} cannot be set.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A secret is frozen: {name} cannot be deleted.")

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("A secret is neither copied nor pickled.")

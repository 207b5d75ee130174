"""Where in a bundle something is wrong: each failure of the offline check is ``Rejected`` with the code ``bundle-PLACE``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from attestor.core.errors import AttestorError, Rejected


def refuse(code: str, sentence: str) -> NoReturn:
    """Raise ``Rejected`` with the code of the place."""
    raise Rejected(code, sentence)


@contextmanager
def place(code: str, name: str) -> Iterator[None]:
    """Give whatever is refused inside the code of this place; *name* begins the sentence."""
    try:
        yield
    except AttestorError as error:
        raise Rejected(code, f"The {name}: {error.sentence} [{error.code}]") from error

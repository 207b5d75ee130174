"""Failures, named by what the caller can do next.

An outcome that is merely not there yet is a value, never an exception (see :mod:`attestor.core.quorum`). Every error
carries a stable ``code`` (documented in README, frozen by a test) and a sentence that says what was wrong and what to do.
"""


class AttestorError(Exception):
    """The base of everything that this program raises on purpose; not raised itself."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.sentence} [{self.code}]"


class Rejected(AttestorError):
    """The input is wrong; sending it again will not help. (422 over HTTP)"""


class Malformed(Rejected):
    """The input cannot be read at all: not JSON, truncated, not base64. (400)"""


class Forbidden(Rejected):
    """The key, client or network has no right to this. (403)"""


class Missing(Rejected):
    """There is no such thing. (404)"""


class TooLarge(Rejected):
    """The input is over a constant limit. (413)"""


class Exhausted(Rejected):
    """A count is used up. (429)"""


class OverRate(Exhausted):
    """A count is used up for now: ``retry_after`` whole seconds later the same call may succeed. (429 with Retry-After)"""

    def __init__(self, code: str, sentence: str, *, retry_after: int) -> None:
        super().__init__(code, sentence)
        self.retry_after = retry_after


class Conflict(AttestorError):
    """Someone else moved first; read again, then decide anew. (409)"""


class Unavailable(AttestorError):
    """An outside part did not answer; the same call may succeed later. (503)"""


class Halted(AttestorError):
    """What the signer remembers and what it is shown contradict each other; nothing is signed until a person has looked."""

"""One table: what the SDK and urllib3 raise, as errors of ours.

The SDK's exceptions are never chained to ours: behind them lie requests with passphrases, and its own checks quote what
they refuse, passphrases too. So only the device's answer and the names of exceptions get out.
"""

from typing import Any, Final

import msgspec
import nethsm
import urllib3.exceptions
from nethsm.client.exceptions import ApiException

from attestor.core.errors import AttestorError, Conflict, Forbidden, Missing, Rejected, Unavailable

MAX_MESSAGE: Final = 200
"""Characters of the device's own words in a sentence of ours."""

LOGIN: Final = "hsm-login"
BUSY: Final = "hsm-busy"
UNREACHABLE: Final = "hsm-unreachable"
CERTIFICATE: Final = "hsm-certificate"
DEADLINE: Final = "hsm-deadline"
_CANNOT_SERVE: Final = (Unavailable, UNREACHABLE, "the node cannot serve now")
_REFUSED: Final = "it refuses what was asked"
_WRONG_CERTIFICATE: Final = (
    Unavailable,
    CERTIFICATE,
    "TLS failed: its certificate is not the configured one, or it broke the connection off",
)
_UNKNOWN: Final = (Rejected, "hsm-protocol", "the device answers otherwise than its description says")
_BY_STATUS: Final[dict[int, tuple[type[AttestorError], str, str]]] = {
    0: _WRONG_CERTIFICATE,  # what the SDK's REST client makes of urllib3's SSLError
    304: (Conflict, "hsm-exists", "it is there already"),
    400: (Rejected, "hsm-refused", _REFUSED),
    401: (Forbidden, LOGIN, "it does not know this user with this passphrase; nothing is tried again"),
    403: (Forbidden, "hsm-refused", _REFUSED),
    404: (Missing, "hsm-refused", _REFUSED),
    406: (Missing, "hsm-refused", _REFUSED),  # some versions: the key has no certificate
    409: (Conflict, "hsm-exists", "it is there already"),
    412: _CANNOT_SERVE,  # not Operational
    429: (Unavailable, BUSY, "a login as this user failed within the last second, so it refuses all of them"),
    500: _CANNOT_SERVE,
    502: _CANNOT_SERVE,
    503: _CANNOT_SERVE,
}


class _Message(msgspec.Struct):
    message: str


def translate(error: Exception, asked: str) -> AttestorError:
    """The error to raise instead, outside of the ``except`` clause; ``asked`` names who asked which node."""
    cause = _cause(error)
    if isinstance(cause, AttestorError):
        return cause
    if isinstance(cause, ApiException):
        kind, code, sentence = _BY_STATUS.get(cause.status, _UNKNOWN)
        return kind(code, f"{asked}: {sentence} (status {cause.status}).{device_words(cause)}")
    if isinstance(cause, urllib3.exceptions.SSLError):
        kind, code, sentence = _WRONG_CERTIFICATE
        return kind(code, f"{asked}: {sentence}.")
    if isinstance(cause, urllib3.exceptions.HTTPError | OSError):
        return Unavailable(UNREACHABLE, f"{asked}: no answer ({type(cause).__name__}).")
    sentence = "the SDK and the device do not understand each other"
    return Rejected("hsm-protocol", f"{asked}: {sentence} ({type(cause).__name__}).")


def _cause(error: BaseException) -> BaseException:
    """What the SDK's facade, or urllib3's counting of retries, has wrapped."""
    if isinstance(error, nethsm.NetHSMError) and isinstance(error.__context__, ApiException):
        return error.__context__
    if isinstance(error, nethsm.NetHSMRequestError):
        return _cause(error.reason)
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        return error.reason
    return error


def device_words(failed: "ApiException[Any]") -> str:
    """The ``message`` of the device's answer, short and printable, or nothing."""
    answer = failed.api_response.response.data if failed.api_response is not None else b""
    try:
        message = msgspec.json.decode(answer or b"", type=_Message).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    shown = "".join(letter if letter.isprintable() else "?" for letter in message[:MAX_MESSAGE])
    return f" The device says: {shown}"

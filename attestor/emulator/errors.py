"""The one failure of this program that becomes an HTTP answer."""


class StatusError(Exception):
    """A request is answered with this status and ``{"message": ...}``, as the device does for all HTTP errors."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class StartError(Exception):
    """The program cannot start; the sentence says why and what to do."""

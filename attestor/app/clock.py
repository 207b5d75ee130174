"""The clock; everything below takes time as an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """This machine's time, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one place

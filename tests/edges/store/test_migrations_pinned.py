"""Released migrations stay as they are: whoever has applied one has applied these very bytes."""

import hashlib

import pytest

from attestor.store.migrate import folder

RELEASED = {
    "0001_ground": "d4b3f1bcb167c238b13ddb22559dce408fcb76630deceeb6f0931587b876a2bc",
}


@pytest.mark.parametrize(("name", "digest"), RELEASED.items())
def test_a_released_migration_is_never_changed(name, digest):
    assert hashlib.sha256((folder() / f"{name}.sql").read_bytes()).hexdigest() == digest

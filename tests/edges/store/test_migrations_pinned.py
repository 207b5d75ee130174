"""Released migrations stay as they are: whoever has applied one has applied these very bytes."""

import hashlib

import pytest

from attestor.store.migrate import folder

RELEASED = {
    "0001_ground": "d4b3f1bcb167c238b13ddb22559dce408fcb76630deceeb6f0931587b876a2bc",
    "0002_log": "2c55129d2dc241a4d072807f2bc5a78de954dd3e2fecb65f5d16d4bd0317e139",
}


@pytest.mark.parametrize(("name", "digest"), RELEASED.items())
def test_a_released_migration_is_never_changed(name, digest):
    assert hashlib.sha256((folder() / f"{name}.sql").read_bytes()).hexdigest() == digest

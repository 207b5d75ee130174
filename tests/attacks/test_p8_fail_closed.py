"""P8: what is missing, unreadable or inconsistent means no signature, with a reason."""

import pytest

from attestor.core.errors import Unavailable
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, package, vote

BROKEN = {
    "no table of envelopes": "ALTER TABLE envelopes RENAME TO gone",
    "no table of signed digests": "ALTER TABLE signed_digests RENAME TO gone",
    "no right to read withdrawals": "REVOKE SELECT ON withdrawals FROM attestor_signer",
}
MENDED = {
    "no table of envelopes": "ALTER TABLE gone RENAME TO envelopes",
    "no table of signed digests": "ALTER TABLE gone RENAME TO signed_digests",
    "no right to read withdrawals": "GRANT SELECT ON withdrawals TO attestor_signer",
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_nothing_is_signed_and_the_request_says_so_with(scene, fault):
    await scene.queued()
    await scene.ground.sql(BROKEN[fault])
    try:
        await scene.sign()
        state, reason = await scene.standing()
    finally:
        await scene.ground.sql(MENDED[fault])
    assert (state, reason) == ("queued", "database-refused")
    assert await scene.signatures() == 0


async def test_a_claim_whose_row_cannot_be_is_not_shown_and_nothing_is_decided_from_it(scene):
    await scene.gate.admit(vote(package(), GOOD, "alice"))
    await scene.ground.sql("UPDATE releases SET file_name = 'another-1-1-any.pkg.tar.zst'")
    for reading in (scene.gate.release(package().id), scene.gate.ask(BUILDER, asking(package(), GOOD))):
        with pytest.raises(Unavailable) as caught:
            await reading
        assert caught.value.code == "row-unreadable"

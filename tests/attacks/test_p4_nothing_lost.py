"""P4: a 2xx answer means committed with `synchronous_commit` on, whatever the role's own defaults say."""

import pytest


@pytest.mark.parametrize("role", ["attestor_api", "attestor_signer"])
async def test_a_role_that_turned_its_own_durability_off_still_commits_durably(ground, role):
    await ground.sql(f"ALTER ROLE {role} SET synchronous_commit = off")
    try:
        pool = await ground.pool(role)
        assert await pool.fetchval("SHOW synchronous_commit") == "on"
    finally:
        await ground.sql(f"ALTER ROLE {role} RESET synchronous_commit")

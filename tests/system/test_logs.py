"""Logs are JSON lines, and what concerns a request names it and its release, at the API and at the signer."""

import json

from tests.system.houses import package


async def test_a_signature_can_be_followed_through_the_logs(house, client, sign):
    name, content = package("logged"), b"any bytes"
    await house.attest(name, content, "alice", "bob")
    await sign(name, content)
    [release] = (await client.releases(file=name.file_name)).releases
    [request] = (await client.release(release.id)).requests
    house.await_log(rf'"signing_request": "{request}".*"event": "worked"|"event": "worked".*"{request}"')

    lines = [json.loads(line) for line in house.log.read_text().splitlines() if line.startswith("{")]
    about = [line for line in lines if line.get("signing_request") == request]

    assert {line["event"] for line in about} == {"request", "worked"}
    asked = next(line for line in about if line.get("route") == "/v1/signing-requests")
    assert asked["release_id"] == release.id
    assert asked["request_id"]
    assert {line["release_id"] for line in about if line["event"] == "worked"} == {release.id}

"""A whole service with its canary: made at the first start, made on demand, and seen by whoever asks from outside."""

import json
import subprocess
import sys

import aiohttp

from attestor.core.canary import CANARY
from tests.system.houses import until


def attestor(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "attestor", *map(str, arguments)], capture_output=True, text=True, check=False
    )


async def test_every_key_has_signed_since_the_first_start_and_signs_when_asked(house, certificates, gpg):
    async with house.submitter() as anybody:
        first = await until(anybody.canaries, lambda shown: len(shown.canaries) == len(certificates))
        assert first.content == CANARY
        for each in first.canaries:
            status = gpg(CANARY, each.signature)
            assert status
            assert "canary@" in status
        asked = attestor("canary", "run", "--config", house.folder / "attestor.toml")
        assert (asked.returncode, len(asked.stdout.splitlines())) == (0, len(certificates)), asked.stderr
        before = {each.key: each.entry for each in first.canaries}
        assert all(each.entry > before[each.key] for each in (await anybody.canaries()).canaries)
    certs = [argument for file in certificates.values() for argument in ("--cert", file)]
    checked = attestor("canary", "verify", "--url", house.public, "--ca", house.ca, *certs, "--json")
    assert (checked.returncode, [each["code"] for each in json.loads(checked.stdout)]) == (
        0,
        [None] * len(certificates),
    )
    async with aiohttp.ClientSession() as operator:
        async with operator.get(f"http://{house._addresses[2]}/readyz") as answer:
            parts = {part["part"]: part for part in (await answer.json())["parts"]}
        assert parts["canary"]["ready"], parts["canary"]
        async with operator.get(f"http://{house._addresses[2]}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert sum(line.startswith("attestor_canary_age_seconds{") for line in lines) == len(certificates)
    assert sum(line.startswith("attestor_hsm_key_stopped{") and line.endswith(" 0.0") for line in lines) == len(
        certificates
    )

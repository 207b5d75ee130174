"""A secret shows in nothing that a program does with a value."""

import copy
import dataclasses
import json
import pickle
from string import Template

import msgspec
import pytest

from attestor.core.secret import Secret

TEXT = "sensitive passphrase"


@dataclasses.dataclass
class Holder:
    user: str
    passphrase: Secret


SHOWN = {
    "repr": repr,
    "str": str,
    "format": lambda secret: f"{secret} {secret!r} {secret:>40}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - logging formats so
    "template": lambda secret: Template("$x").substitute(x=secret),
    "a dataclass that holds it": lambda secret: repr(Holder("user", secret)),
    "a list that holds it": lambda secret: repr([secret]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_it_does_not_show_in(name):
    assert TEXT not in SHOWN[name](Secret(TEXT))


ENCODED = {
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "msgspec": msgspec.json.encode,
    "json": json.dumps,
    "asdict": lambda secret: dataclasses.asdict(Holder("user", secret)),
    "vars": vars,
}


@pytest.mark.parametrize("name", ENCODED)
def test_it_refuses(name):
    with pytest.raises(TypeError) as caught:
        ENCODED[name](Secret(TEXT))
    assert TEXT not in str(caught.value)


def test_only_reveal_gives_it_and_nothing_changes_it():
    secret = Secret(TEXT)
    with pytest.raises(AttributeError):
        secret.text = "another"
    with pytest.raises(AttributeError):
        secret._Secret__text = "another"
    with pytest.raises(AttributeError):
        del secret._Secret__text
    assert secret.reveal() == TEXT


def test_two_secrets_are_not_compared():
    assert Secret(TEXT) != Secret(TEXT)

"""Our canonical form is RFC 8785's, by the word of a library that does nothing else."""

import json

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from attestor.core import canonical
from attestor.core.errors import Malformed

NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
SCALARS = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))


class Form(msgspec.Struct, forbid_unknown_fields=True):
    b: str
    a: int


DECODER = msgspec.json.Decoder(Form)


@given(DOCUMENTS)
def test_it_is_what_the_library_of_the_rfc_writes(document):
    assert canonical.encode(document) == rfc8785.dumps(document)


def test_every_character_of_the_basic_plane_is_spelled_alike():
    text = "".join(chr(each) for each in range(0x10000) if not 0xD800 <= each < 0xE000)
    assert canonical.encode(text) == rfc8785.dumps(text)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"b":"x","a":1}',
        b'{"a":1, "b":"x"}',
        b'{"a":1,"b":"x"}\n',
        b'{"a":1,"a":1,"b":"x"}',
        b'{"a":-0,"b":"x"}',
        b'{"a":1,"b":"\\u0078"}',
    ],
    ids=["another order", "a space", "a line end", "a name twice", "minus zero", "an escape"],
)
def test_what_reads_alike_and_is_spelled_otherwise_is_refused(raw):
    read = canonical.decode(raw, DECODER, "form", "thing")
    with pytest.raises(Malformed) as caught:
        canonical.refuse_other_spelling(raw, canonical.encode(read), "form", "thing")
    assert caught.value.code == "form"
    assert "from byte " in caught.value.sentence


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"a":1.0,"b":"x"}',
        b'{"a":1e0,"b":"x"}',
        b'{"a":01,"b":"x"}',
        b'{"a":1,"b":"x","c":1}',
        b'{"a":1}',
        b'{"a":1,"b":"\xff"}',
        b'{"a":1,"b":"\\ud800"}',
        b'{"a":1,"b":"\xed\xa0\x80"}',
        b'{"a":1,"b":' + b"[" * 100_000,
        b"\xef\xbb\xbf" + b'{"a":1,"b":"x"}',
    ],
)
def test_another_form_is_refused(raw):
    with pytest.raises(Malformed) as caught:
        canonical.decode(raw, DECODER, "form", "thing")
    assert caught.value.code == "form"
    assert caught.value.sentence.isprintable()


def test_it_says_at_which_byte_it_is_not_utf_8():
    with pytest.raises(Malformed, match="at byte 12"):
        canonical.decode(b'{"a":1,"b":"\xffx"}', DECODER, "form", "thing")


def test_the_documents_that_are_compared_are_json():
    assert json.loads(canonical.encode({"b": [1, "\u2028"], "a": None})) == {"a": None, "b": [1, "\u2028"]}

"""JSON and base64 that two programs could read differently are refused."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import AttestorError, Malformed
from attestor.core.strictjson import MAX_INTEGER, decode, decode_base64


def code_of(raw):
    try:
        decode(raw, limit_depth=4)
    except AttestorError as error:
        return error.code
    return "read"


REFUSED = {
    "nothing is not JSON": (b"", "not-json"),
    "a truncated object is not JSON": (b'{"a": 1', "not-json"),
    "two documents are not one": (b"{}{}", "not-json"),
    "a byte order mark is not JSON": (b"\xef\xbb\xbf{}", "not-json"),
    "UTF-16 is not UTF-8": ('{"a":1}'.encode("utf-16"), "not-json"),
    "an overlong slash is not UTF-8": (b'"\xc0\xaf"', "not-json"),
    "a surrogate in UTF-8 is not UTF-8": (b'"\xed\xa0\x80"', "not-json"),
    "an escaped lone surrogate is no character": (rb'["\ud800"]', "not-json"),
    "an escaped lone low surrogate is no character": (rb'{"\uDFFF": 1}', "not-json"),
    "NaN is not JSON": (b"[NaN]", "not-json"),
    "Infinity is not JSON": (b"[-Infinity]", "not-json"),
    "a raw newline in a string is not JSON": (b'"a\nb"', "not-json"),
    "a leading zero is not JSON": (b"[01]", "not-json"),
    "a leading plus is not JSON": (b"[+1]", "not-json"),
    "an underscore in a number is not JSON": (b"[1_0]", "not-json"),
    "an Arabic digit is not JSON": ("[٣]".encode(), "not-json"),
    "a comment is not JSON": (b"{} // yes", "not-json"),
    "a no-break space is no white space": ("\u00a0{}".encode(), "not-json"),
    "a name twice is refused": (b'{"a":1,"a":1}', "duplicate-key"),
    "a name twice is refused at any depth": (b'[{"b":[{"a":1,"c":2,"a":3}]}]', "duplicate-key"),
    "a name twice is refused when one is escaped": (rb'{"a":1,"\u0061":2}', "duplicate-key"),
    "an integer beyond a double is refused": (b"[9007199254740992]", "number-out-of-range"),
    "a negative integer beyond a double is refused": (b"[-9007199254740992]", "number-out-of-range"),
    "an integer of many digits costs nothing": (b"9" * 200_000, "number-out-of-range"),
    "a float that overflows is refused": (b"1e999", "number-out-of-range"),
    "a ninth array is too deep": (b"[" * 9 + b"]" * 9, "too-deep"),
    "a ninth object is too deep": (b'{"a":' * 9 + b"1" + b"}" * 9, "too-deep"),
    "a hundred thousand arrays are too deep": (b"[" * 100_000 + b"]" * 100_000, "too-deep"),
    "a hundred thousand objects are too deep": (b'{"a":' * 100_000, "too-deep"),
}


@pytest.mark.parametrize(("raw", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_json_with_two_meanings_is_refused(raw, code):
    with pytest.raises(Malformed) as refused:
        decode(raw, limit_depth=8)
    assert refused.value.code == code


READ = {
    "a surrogate pair is one character": (rb'"\ud83d\ude00"', "😀"),
    "an escaped backslash before u is no surrogate": (rb'"\\ud800"', r"\ud800"),
    "the largest integer is read": (str(MAX_INTEGER).encode(), MAX_INTEGER),
    "the smallest integer is read": (str(-MAX_INTEGER).encode(), -MAX_INTEGER),
    "eight levels are read": (b"[" * 8 + b"]" * 8, [[[[[[[[]]]]]]]]),
    "many brackets side by side are not deep": (b"[" + b",".join([b"[]"] * 99) + b"]", [[]] * 99),
    "brackets in strings are not deep": (b'"[[[[[[[[[[[["', "[[[[[[[[[[[["),
    "one name in two objects is no duplicate": (b'[{"a":1},{"a":1}]', [{"a": 1}, {"a": 1}]),
    "a fraction is read": (b"1.5", 1.5),
}


@pytest.mark.parametrize(("raw", "value"), READ.values(), ids=READ.keys())
def test_json_with_one_meaning_is_read(raw, value):
    assert decode(raw, limit_depth=8) == value


@pytest.mark.parametrize("raw", [b"1.0", b"[1e2]", b'{"a":-0.0}'])
def test_a_fraction_or_exponent_is_no_integer(raw):
    with pytest.raises(Malformed) as refused:
        decode(raw, limit_depth=8, integers_only=True)
    assert refused.value.code == "not-an-integer"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_what_a_library_writes_is_read_back(value, escape):
    assert decode(json.dumps(value, ensure_ascii=escape).encode(), limit_depth=64, integers_only=True) == value


@given(st.binary(max_size=64) | st.text('{}[]":,\\u0dDeE+-. 1a', max_size=64).map(str.encode))
def test_no_bytes_raise_anything_but_our_errors(raw):
    assert code_of(raw) in {"read", "not-json", "duplicate-key", "too-deep", "number-out-of-range"}


NOT_BASE64 = {
    "padding missing": "QUI",
    "padding doubled": "QUI==",
    "padding alone": "====",
    "padding in the middle": "QQ==QQ==",
    "stray bits at the end": "QUJ=",
    "stray bits before two paddings": "QR==",
    "a line break": "QUJD\nQUJD",
    "a line break at the end": "QUJD\n",
    "white space": " QUJD",
    "both alphabets": "+_+_",
    "the url-safe alphabet without padding": "_w",
    "junk between": "QU!JD",
    "a full-width letter": "\uff21UJD",
    "one character": "Q",
}


@pytest.mark.parametrize("text", NOT_BASE64.values(), ids=NOT_BASE64.keys())
def test_base64_that_is_not_canonical_is_refused(text):
    with pytest.raises(Malformed) as refused:
        decode_base64(text)
    assert refused.value.code == "not-base64"


@given(st.binary(max_size=64))
def test_both_canonical_alphabets_are_read(raw):
    assert decode_base64(base64.b64encode(raw).decode()) == raw
    assert decode_base64(base64.urlsafe_b64encode(raw).decode()) == raw


@given(st.text("AQZaz09+/-_= \n", max_size=12) | st.text(max_size=8))
def test_no_two_texts_of_one_alphabet_decode_to_the_same_bytes(text):
    try:
        raw = decode_base64(text)
    except Malformed:
        return
    assert text in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())

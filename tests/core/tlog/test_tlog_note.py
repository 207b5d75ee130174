"""Signed notes: one reading of every byte, and no signature counts that a known key did not make over these bytes."""

import base64
import contextlib
import hashlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Malformed, Rejected
from attestor.core.tlog.grammar import read_base64, read_decimal
from attestor.core.tlog.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    NoteSigner,
    VerifierKey,
    parse_note,
    parse_skey,
    parse_vkey,
    verified_by,
)

VECTORS = Path(__file__).parents[2] / "vectors"
NOTES = json.loads((VECTORS / "signed-notes.json").read_text("utf-8"))
SMALL_ORDER = json.loads((VECTORS / "ed25519-small-order.json").read_text())
PUBLISHED = ["c2sp", "peter", "enoch"]
SEED = bytes(range(32))
SIGNER = NoteSigner.create("log.example/one", SEED)
KEY = SIGNER.verifier
OTHER = NoteSigner.create("log.example/two", bytes(32))
TEXT = "a line\nanother – with a dash\n"
LINE = SIGNER.sign(TEXT)
NOTE = f"{TEXT}\n{LINE}\n".encode()


def note_of(text, *lines):
    return "\n".join([text, *lines, ""]).encode()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_note_opens_with_its_published_key(name):
    one = NOTES[name]
    key = parse_vkey(one["vkey"])
    assert key.text == one["vkey"]
    note = parse_note(note_of(one["text"], one["signature"]))
    assert note.text == one["text"]
    assert verified_by(note, [key]) == {key}


def test_go_s_private_key_makes_go_s_signature():
    one = NOTES["peter"]
    signer = parse_skey(one["skey"])
    assert signer.skey == one["skey"]
    assert signer.verifier.text == one["vkey"]
    assert signer.sign(one["text"]) == one["signature"]


def test_two_signatures_are_two_keys_and_an_unknown_one_is_ignored():
    peter, enoch = parse_vkey(NOTES["peter"]["vkey"]), parse_vkey(NOTES["enoch"]["vkey"])
    note = parse_note(note_of(NOTES["peter"]["text"], NOTES["peter"]["signature"], NOTES["enoch"]["signature"]))
    assert verified_by(note, [peter, enoch]) == {peter, enoch}
    assert verified_by(note, [enoch, KEY]) == {enoch}
    for keys in ([], [KEY]):
        with pytest.raises(Rejected) as refused:
            verified_by(note, keys)
        assert refused.value.code == "note-signature"


@pytest.mark.parametrize("order", [1, -1], ids=["wrong one last", "wrong one first"])
def test_a_wrong_signature_of_a_known_key_spoils_the_whole_note(order):
    wrong = SIGNER.sign("other text\n")
    lines = [OTHER.sign(TEXT), LINE, wrong][::order]
    note = parse_note(note_of(TEXT, *lines))
    with pytest.raises(Rejected) as refused:
        verified_by(note, [KEY, OTHER.verifier])
    assert refused.value.code == "note-signature"
    assert verified_by(note, [OTHER.verifier]) == {OTHER.verifier}


def test_another_key_under_the_same_name_and_key_id_does_not_stand_in(monkeypatch):
    monkeypatch.setattr(VerifierKey, "key_id", b"same")
    twin = NoteSigner.create(KEY.name, bytes(32))
    note = parse_note(note_of(TEXT, twin.sign(TEXT)))
    assert verified_by(note, [KEY, twin.verifier]) == {twin.verifier}
    with pytest.raises(Rejected):
        verified_by(note, [KEY])


def test_the_log_s_signature_is_no_cosignature_and_the_other_way_round():
    both = {kind: NoteSigner.create("log.example/one", SEED, kind) for kind in (ED25519, COSIGNATURE)}
    lines = [both[ED25519].sign(TEXT), both[COSIGNATURE].cosign(TEXT, 7)]
    assert both[ED25519].verifier.key_id != both[COSIGNATURE].verifier.key_id
    note = parse_note(note_of(TEXT, *lines))
    assert len(verified_by(note, [one.verifier for one in both.values()])) == 2
    first, second = note.lines
    assert not both[COSIGNATURE].verifier.verifies(TEXT, first.signature)
    assert not both[ED25519].verifier.verifies(TEXT, second.signature)


def test_keys_sign_only_what_their_type_is_for():
    cosigner = NoteSigner.create("witness.example", SEED, COSIGNATURE)
    for sign in (lambda: cosigner.sign(TEXT), lambda: SIGNER.cosign(TEXT, 1)):
        with pytest.raises(Rejected) as refused:
            sign()
        assert refused.value.code == "note-key-type"


@pytest.mark.parametrize(
    "text", ["", "no newline", "a\rb\n", "a\tb\n", "a\x00\n", "a\x1f\n", "half a pair \ud800\n"], ids=repr
)
def test_what_is_no_text_of_a_note_is_not_signed(text):
    cosigner = NoteSigner.create("witness.example", SEED, COSIGNATURE)
    for sign in (SIGNER.sign, lambda one: cosigner.cosign(one, 1)):
        with pytest.raises(Malformed) as refused:
            sign(text)
        assert refused.value.code == "note-malformed"


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "\n\n",
        "a\n\n",
        "a\n\nb\n",
        f"{LINE}\n",
        f"a\n\n{LINE}\n",
        "a\x7f\n",
        "ß\u2028\u0085x\n",
    ],
    ids=repr,
)
def test_whatever_the_text_the_last_empty_line_ends_it(text):
    raw = note_of(text, SIGNER.sign(text))
    note = parse_note(raw)
    assert (note.text, len(note.lines)) == (text, 1)
    assert verified_by(note, [KEY])
    assert note.encode() == raw


B64 = LINE.split(" ")[2]
MALFORMED = {
    "nothing": b"",
    "an empty line": b"\n\n",
    "text alone": TEXT.encode(),
    "text and empty line": f"{TEXT}\n".encode(),
    "no final newline": NOTE[:-1],
    "an empty line at the end": NOTE + b"\n",
    "an unexpected line": NOTE + b"Unexpected line.\n",
    "an empty line between signatures": NOTE + f"\n\n{LINE}".encode(),
    "no empty line": f"{TEXT}{LINE}\n".encode(),
    "carriage returns": NOTE.replace(b"\n", b"\r\n"),
    "a control character": b"\x01" + NOTE,
    "a tab in the text": b"\t" + NOTE,
    "a byte that is no UTF-8": b"\xff" + NOTE,
    "half a surrogate pair": b"\xed\xa0\x80" + NOTE,
    "an overlong newline": b"\xc0\x8a" + NOTE,
    "a hyphen for the dash": note_of(TEXT, LINE.replace("—", "-")),
    "an en dash for the dash": note_of(TEXT, LINE.replace("—", "–")),
    "no space after the dash": note_of(TEXT, LINE.replace("— ", "—")),
    "two spaces after the dash": note_of(TEXT, LINE.replace("— ", "—  ")),
    "a space in front": note_of(TEXT, f" {LINE}"),
    "a name with a space": note_of(TEXT, f"— Bad Name {B64}"),
    "a name with a no-break space": note_of(TEXT, f"— Bad\u00a0Name {B64}"),
    "a name with a plus": note_of(TEXT, f"— a+b {B64}"),
    "no name": note_of(TEXT, f"—  {B64}"),
    "no base64": note_of(TEXT, f"— {KEY.name} "),
    "no second space": note_of(TEXT, f"— {KEY.name}"),
    "a space after the base64": note_of(TEXT, f"{LINE} "),
    "four bytes": note_of(TEXT, f"— {KEY.name} {base64.b64encode(bytes(4)).decode()}"),
    "another alphabet": note_of(TEXT, f"— {KEY.name} AAAAAA__"),
    "base64 without padding": note_of(TEXT, LINE.rstrip("=")),
    "more padding": note_of(TEXT, f"{LINE}="),
    "junk in the base64": note_of(TEXT, f"{LINE[:40]}!{LINE[40:]}"),
    "stray bits at the end": note_of(TEXT, f"— {KEY.name} AAAAAAE="[:-2] + "F="),
    "fullwidth letters": note_of(TEXT, f"— {KEY.name} ＡＡＡＡＡＡＡＡ"),
    "a line separator for a newline": NOTE.decode().replace(f"\n\n{LINE}", f"\n\u2028{LINE}").encode(),
    "too large": b"x" * (MAX_NOTE_BYTES + 1 - len(NOTE)) + NOTE,
    "101 signatures": note_of(TEXT, *[LINE] * (MAX_SIGNATURES + 1)),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_note_is_refused_for(what):
    with pytest.raises(Malformed) as refused:
        parse_note(MALFORMED[what])
    assert refused.value.code == "note-malformed"


def test_the_limits_themselves_are_accepted():
    assert verified_by(parse_note(note_of(TEXT, *[LINE] * MAX_SIGNATURES)), [KEY])
    text = "x" * (MAX_NOTE_BYTES - len(note_of("\n", SIGNER.sign("\n")))) + "\n"
    raw = note_of(text, SIGNER.sign(text))
    assert len(raw) == MAX_NOTE_BYTES
    assert verified_by(parse_note(raw), [KEY])
    assert MAX_SIGNATURES >= 16  # what signed-note demands at least


def test_sixteen_signatures_of_sixteen_keys_count_sixteen_times():
    signers = [NoteSigner.create(f"log.example/{number}", bytes([number]) * 32) for number in range(16)]
    note = parse_note(note_of(TEXT, *(one.sign(TEXT) for one in signers)))
    assert verified_by(note, [one.verifier for one in signers]) == {one.verifier for one in signers}


@given(st.integers(0, 8 * len(NOTE) - 1))
def test_a_note_with_any_bit_changed_does_not_open(bit):
    at, mask = divmod(bit, 8)
    with pytest.raises(Rejected):
        verified_by(parse_note(NOTE[:at] + bytes([NOTE[at] ^ 1 << mask]) + NOTE[at + 1 :]), [KEY])


@given(st.binary(max_size=60))
def test_anything_at_all_is_a_note_or_malformed(raw):
    for one in (raw, TEXT.encode() + b"\n" + raw, NOTE + raw, raw + NOTE):
        with contextlib.suppress(Malformed):
            assert parse_note(one).encode() == one


def vkey(name=KEY.name, algorithm=1, public=KEY.public):
    body = bytes([algorithm]) + public
    key_id = hashlib.sha256(name.encode("utf-8", "surrogatepass") + b"\n" + body).hexdigest()[:8]
    return f"{name}+{key_id}+{base64.b64encode(body).decode()}"


def test_the_maker_of_the_refused_vkeys_makes_right_ones():
    assert vkey() == KEY.text
    assert parse_vkey(vkey()) == KEY
    assert parse_vkey(vkey(algorithm=4)) == VerifierKey(KEY.name, COSIGNATURE, KEY.public)


VKEYS = {
    **NOTES["refused_vkeys"],
    "nothing": "",
    "one part": KEY.name,
    "two parts": KEY.text.rsplit("+", 1)[0],
    "no name": vkey(name=""),
    "a name with a space": vkey(name="a b"),
    "a name with an ideographic space": vkey(name="a\u3000b"),
    "a name with a newline": vkey(name="a\nb"),
    "a name with a control": vkey(name="a\x01b"),
    "a name that is half a character": vkey(name="a\ud800b"),
    "a key ID of another key": KEY.text.replace(KEY.key_id.hex(), "00000000"),
    "a key ID in capitals": KEY.text.replace(KEY.key_id.hex(), KEY.key_id.hex().upper()),
    "an RFC 6962 key": vkey(algorithm=5),
    "a key of 31 bytes": vkey(public=bytes(31)),
    "a key without bytes": vkey(public=b""),
    "a newline at the end": KEY.text + "\n",
    "a space in front": " " + KEY.text,
    "a character less": KEY.text[:-1],
    "a character more": KEY.text + "A",
    "a point that is not on the curve": vkey(public=b"\x02" + bytes(31)),
    **{f"the point of small order {point}": vkey(public=bytes.fromhex(point)) for point in SMALL_ORDER},
}


@pytest.mark.parametrize("what", VKEYS)
def test_a_vkey_is_refused_for(what):
    assert VKEYS[what] != KEY.text
    with pytest.raises(Rejected) as refused:
        parse_vkey(VKEYS[what])
    assert refused.value.code == "vkey-invalid"


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_part_of_a_vkey_is_one_and_none_with_a_changed_character(name):
    whole = NOTES[name]["vkey"]
    parts = {whole[i:j] for i in range(len(whole)) for j in range(i + 1, len(whole) + 1)} - {whole}
    changed = {whole[:i] + chr(ord(whole[i]) + 1) + whole[i + 1 :] for i in range(len(whole))}
    assert len(parts) > 1000
    for one in parts | changed:
        with pytest.raises(Rejected):
            parse_vkey(one)


def test_a_published_cosigner_s_vkey_is_read():
    key = parse_vkey(NOTES["cosigner"])
    assert (key.name, key.algorithm, key.text) == ("remora.n621.de", COSIGNATURE, NOTES["cosigner"])


@pytest.mark.parametrize(
    ("name", "algorithm"), [("a b", 1), ("", 1), ("a+b", 1), ("log.example", 2), ("log.example", 257)]
)
def test_a_key_is_not_made_with_a_bad_name_or_type_either(name, algorithm):
    with pytest.raises(Rejected) as refused:
        VerifierKey(name, algorithm, KEY.public)
    assert refused.value.code == "vkey-invalid"
    with pytest.raises(Rejected):
        NoteSigner.create(name, SEED, algorithm)


@pytest.mark.parametrize("kind", [ED25519, COSIGNATURE])
def test_a_signer_is_written_and_read_again(kind):
    signer = NoteSigner.create("log.example/one", SEED, kind)
    assert parse_skey(signer.skey).verifier == signer.verifier


SKEY = NOTES["peter"]["skey"]
SKEYS = {
    "nothing": "",
    "the public key": NOTES["peter"]["vkey"],
    "no start": SKEY.removeprefix("PRIVATE+KEY+"),
    "another start": SKEY.replace("PRIVATE", "PUBLIC"),
    "a newline at the end": SKEY + "\n",
    "another key ID": SKEY.replace("c74f20a3", "c74f20a4"),
    "another name": SKEY.replace("Peter", "Paul"),
    "another seed": SKEY[:-1] + ("y" if SKEY[-1] == "z" else "z"),
    "a short seed": "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEK",
    "not base64": SKEY[:-2] + "!!",
}


@pytest.mark.parametrize("what", SKEYS)
def test_an_skey_is_refused_without_being_shown_for(what):
    with pytest.raises(Rejected) as refused:
        parse_skey(SKEYS[what])
    assert refused.value.code == "skey-invalid"
    assert "AYEKFALVFGyNhPJEMzD1QIDr" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_seed_of_another_length_is_refused():
    with pytest.raises(Rejected) as refused:
        NoteSigner.create("log.example", bytes(31))
    assert refused.value.code == "skey-invalid"


def test_a_signer_shows_its_public_part_alone():
    for shown in (repr(SIGNER), str(SIGNER), f"{SIGNER}"):
        assert KEY.text in shown
        assert SEED.hex() not in shown
        assert base64.b64encode(b"\x01" + SEED).decode() not in shown


@pytest.mark.parametrize("leak", [pickle.dumps, vars], ids=["pickle", "vars"])
def test_a_signer_is_not_carried_elsewhere_by_accident(leak):
    with pytest.raises(TypeError):
        leak(SIGNER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+5",
        "-5",
        " 5",
        "5 ",
        "5\n",
        "1_0",
        "٣",
        "05",
        "00",
        "0x5",
        "5.0",
        "1e3",
        "²",
        "9223372036854775808",
        "1" * 5000,
    ],
    ids=lambda one: repr(one[:25]),
)
def test_a_decimal_that_int_would_take_or_nearly_is_refused(text):
    with pytest.raises(ValueError):
        read_decimal(text)


@pytest.mark.parametrize("number", [0, 1, 9, 10, 2**63 - 1])
def test_a_decimal_is_read(number):
    assert read_decimal(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "QUJ=",
        "QUK=",
        "QQ==\n",
        "QQ=",
        "QQ",
        "QQ===",
        "=QQ==",
        "Q Q==",
        "QQ==QQ==",
        "Q!Q==",
        "QR==",
        "_-==",
        "QQ\n==",
        "Ｑ",
        "é",
    ],
    ids=repr,
)
def test_base64_that_b64decode_would_take_or_nearly_is_refused(text):
    with pytest.raises(ValueError):
        read_base64(text)


@given(st.binary(max_size=80))
def test_base64_is_read_as_it_was_written(raw):
    assert read_base64(base64.b64encode(raw).decode()) == raw

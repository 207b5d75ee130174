"""Checkpoints, cosignatures, proofs for offline use and the witness's request: exact to the byte, and refused otherwise."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Malformed, Rejected
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text, sign_checkpoint
from attestor.core.tlog.cosignature import Cosigned, cosign, cosignatures
from attestor.core.tlog.grammar import MAX_PROOF_HASHES
from attestor.core.tlog.merkle import EMPTY_ROOT, leaf_hash, node_hash
from attestor.core.tlog.note import COSIGNATURE, MAX_NOTE_BYTES, NoteSigner, parse_note
from attestor.core.tlog.tlogproof import MAX_TLOG_PROOF_BYTES, TlogProof, open_tlog_proof, parse_tlog_proof
from attestor.core.tlog.witnessing import MAX_ADD_CHECKPOINT_BYTES, encode_add_checkpoint, parse_add_checkpoint

ORIGIN = "log.example/packages"
LOG = NoteSigner.create(ORIGIN, bytes(range(32)))
WITNESSES = [
    NoteSigner.create(f"witness.example/w{number}", bytes([number]) * 32, COSIGNATURE) for number in range(1, 4)
]
W1, W2, W3 = (one.verifier for one in WITNESSES)
ROOT = hashlib.sha256(b"some root").digest()
B64 = base64.b64encode(ROOT).decode()
CHECKPOINT = Checkpoint(ORIGIN, 20852163, ROOT)
TEXT = f"{ORIGIN}\n20852163\n{B64}\n"
NOTE = sign_checkpoint(CHECKPOINT, LOG)
EMPTY_B64 = base64.b64encode(EMPTY_ROOT).decode()


def with_lines(*lines):
    return parse_note(NOTE + "".join(f"{line}\n" for line in lines).encode())


def test_a_checkpoint_is_three_lines_and_a_signature():
    assert CHECKPOINT.text == TEXT
    assert f"{TEXT}\n{LOG.sign(TEXT)}\n".encode() == NOTE
    assert open_checkpoint(NOTE, LOG.verifier) == CHECKPOINT
    assert parse_checkpoint_text(TEXT) == CHECKPOINT


def test_the_empty_tree_has_a_checkpoint_too():
    text = f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert parse_checkpoint_text(text) == Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert Checkpoint(ORIGIN, 0, EMPTY_ROOT).text == text


TEXTS = {
    "nothing": "",
    "no final newline": TEXT[:-1],
    "two lines": f"{ORIGIN}\n5\n",
    "a fourth, empty line": f"{TEXT}\n",
    "an extension line": f"{TEXT}extension\n",
    "no origin": f"\n5\n{B64}\n",
    "a size with a leading zero": f"{ORIGIN}\n05\n{B64}\n",
    "a size with a sign": f"{ORIGIN}\n+5\n{B64}\n",
    "a size below nothing": f"{ORIGIN}\n-5\n{B64}\n",
    "a size with a space": f"{ORIGIN}\n 5\n{B64}\n",
    "a size with an underscore": f"{ORIGIN}\n1_0\n{B64}\n",
    "a size in other digits": f"{ORIGIN}\n٣\n{B64}\n",
    "a size beyond 63 bits": f"{ORIGIN}\n9223372036854775808\n{B64}\n",
    "no size": f"{ORIGIN}\n\n{B64}\n",
    "a root of 31 bytes": f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n",
    "a root of 33 bytes": f"{ORIGIN}\n5\n{base64.b64encode(bytes(33)).decode()}\n",
    "a root with stray bits": f"{ORIGIN}\n5\n{base64.b64encode(bytes(32)).decode()[:-2]}B=\n",
    "a root without padding": f"{ORIGIN}\n5\n{B64.rstrip('=')}\n",
    "a root in the other alphabet": f"{ORIGIN}\n5\n{base64.urlsafe_b64encode(b'?>' * 16).decode()}\n",
    "a root with a space behind": f"{ORIGIN}\n5\n{B64} \n",
    "a root of an empty tree that is not its root": f"{ORIGIN}\n0\n{B64}\n",
    "line separators": TEXT.replace("\n", "\u2028"),
    "next lines": TEXT.replace("\n", "\u0085"),
    "carriage returns": TEXT.replace("\n", "\r\n"),
    "a control in the origin": f"a\x0bb\n5\n{B64}\n",
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_checkpoint_is_refused_for(what):
    with pytest.raises(Malformed) as refused:
        parse_checkpoint_text(TEXTS[what])
    assert refused.value.code == "checkpoint-malformed"


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, ROOT),
        ("a\nb", 1, ROOT),
        ("\ud800", 1, ROOT),
        ("a", -1, ROOT),
        ("a", 2**63, ROOT),
        ("a", 1, b""),
        ("a", 0, ROOT),
    ],
    ids=ascii,
)
def test_what_no_checkpoint_can_say_is_none(origin, size, root):
    with pytest.raises(Malformed):
        Checkpoint(origin, size, root)


@given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_as_it_was_signed(size, root):
    checkpoint = Checkpoint(ORIGIN, size, root)
    assert open_checkpoint(sign_checkpoint(checkpoint, LOG), LOG.verifier) == checkpoint


def test_a_log_signs_for_its_own_origin_alone():
    with pytest.raises(Rejected) as refused:
        sign_checkpoint(Checkpoint("log.example/other", 1, ROOT), LOG)
    assert refused.value.code == "checkpoint-origin"


def test_a_checkpoint_of_another_origin_under_the_log_s_key_is_refused():
    text = TEXT.replace(ORIGIN, "log.example/other")
    with pytest.raises(Rejected) as refused:
        open_checkpoint(f"{text}\n{LOG.sign(text)}\n".encode(), LOG.verifier)
    assert refused.value.code == "checkpoint-origin"


def test_a_checkpoint_under_another_key_is_refused():
    with pytest.raises(Rejected) as refused:
        open_checkpoint(NOTE, NoteSigner.create(ORIGIN, bytes(32)).verifier)
    assert refused.value.code == "note-signature"


def test_a_signed_note_that_is_no_checkpoint_is_refused():
    text = "just words\n"
    with pytest.raises(Malformed) as refused:
        open_checkpoint(f"{text}\n{LOG.sign(text)}\n".encode(), LOG.verifier)
    assert refused.value.code == "checkpoint-malformed"


def test_a_cosigner_does_not_sign_checkpoints_as_the_log():
    with pytest.raises(Rejected) as refused:
        sign_checkpoint(Checkpoint(W1.name, 1, ROOT), WITNESSES[0])
    assert refused.value.code == "note-key-type"


def test_a_cosignature_is_the_time_in_8_bytes_big_endian_and_a_signature_over_the_time_and_the_text():
    line = cosign(TEXT, WITNESSES[0], 1679315147)
    raw = base64.b64decode(line.split(" ")[2])
    assert line.startswith("— witness.example/w1 ")
    assert len(raw) == 4 + 8 + 64
    assert raw[:4] == hashlib.sha256(b"witness.example/w1\n\x04" + W1.public).digest()[:4]
    assert raw[4:12] == (1679315147).to_bytes(8, "big")
    signed = f"cosignature/v1\ntime 1679315147\n{TEXT}".encode()
    assert raw[12:] == WITNESSES[0]._private.sign(signed)


def test_the_spec_s_own_cosignature_line_has_its_time_big_endian():
    spec = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    line = with_lines(spec).lines[1]
    assert int.from_bytes(line.signature[:8]) == 1679315147
    assert len(line.signature) == 72


def test_witnesses_are_counted_and_strangers_are_not():
    note = with_lines(*(cosign(TEXT, one, 1000 + at) for at, one in enumerate(WITNESSES)))
    assert cosignatures(note, [W3, W1]) == (Cosigned(W1, 1000), Cosigned(W3, 1002))
    assert cosignatures(note, []) == ()
    assert cosignatures(parse_note(NOTE), [W1, W2]) == ()
    assert open_checkpoint(note.encode(), LOG.verifier) == CHECKPOINT


def test_one_key_under_two_names_is_one_witness():
    alias = NoteSigner.create("witness.example/alias", bytes([1]) * 32, COSIGNATURE)
    note = with_lines(cosign(TEXT, WITNESSES[0], 5), cosign(TEXT, alias, 9), cosign(TEXT, WITNESSES[0], 7))
    assert cosignatures(note, [W1, alias.verifier]) == (Cosigned(alias.verifier, 9),)


def test_a_little_endian_time_does_not_verify():
    line = cosign(TEXT, WITNESSES[0], 1000)
    raw = base64.b64decode(line.split(" ")[2])
    turned = base64.b64encode(raw[:4] + raw[4:12][::-1] + raw[12:]).decode()
    with pytest.raises(Rejected) as refused:
        cosignatures(with_lines(f"— {W1.name} {turned}"), [W1])
    assert refused.value.code == "cosignature"


def line_of(raw):
    return f"— {W1.name} {base64.b64encode(raw).decode()}"


def right():
    return base64.b64decode(cosign(TEXT, WITNESSES[0], 1000).split(" ")[2])


WRONG = {
    "another text": cosign(TEXT.replace("20852163", "20852164"), WITNESSES[0], 1000),
    "another time": line_of(right()[:11] + b"\x01" + right()[12:]),
    "another signature": line_of(right()[:-1] + bytes([right()[-1] ^ 1])),
    "a byte less": line_of(right()[:-1]),
    "a byte more": line_of(right() + b"\x00"),
    "the key ID and one byte": line_of(right()[:5]),
    "the time alone": line_of(right()[:12]),
    "a note's signature": line_of(right()[:4] + LOG._private.sign(TEXT.encode())),
    "a time beyond 63 bits": line_of(
        right()[:4] + b"\xff" * 8 + WITNESSES[0]._private.sign(f"cosignature/v1\ntime {2**64 - 1}\n{TEXT}".encode())
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_known_witness_s_wrong_cosignature_spoils_all_for(what):
    note = with_lines(cosign(TEXT, WITNESSES[1], 5), WRONG[what])
    assert cosignatures(note, [W2]) == (Cosigned(W2, 5),)
    with pytest.raises(Rejected) as refused:
        cosignatures(note, [W1, W2])
    assert refused.value.code == "cosignature"


def test_a_log_s_key_is_no_witness():
    with pytest.raises(Rejected) as refused:
        cosignatures(parse_note(NOTE), [LOG.verifier])
    assert refused.value.code == "note-key-type"
    with pytest.raises(Rejected) as refused:
        cosign(TEXT, LOG, 1)
    assert refused.value.code == "note-key-type"


def test_only_checkpoints_are_cosigned():
    with pytest.raises(Malformed) as refused:
        cosign("just words\n", WITNESSES[0], 1)
    assert refused.value.code == "checkpoint-malformed"


@pytest.mark.parametrize("timestamp", [-1, 2**63])
def test_no_time_outside_of_63_bits_is_cosigned(timestamp):
    with pytest.raises(Rejected) as refused:
        cosign(TEXT, WITNESSES[0], timestamp)
    assert refused.value.code == "cosignature"


H1, H2 = hashlib.sha256(b"hash1").digest(), hashlib.sha256(b"hash2").digest()
H1_64, H2_64 = base64.b64encode(H1).decode(), base64.b64encode(H2).decode()
PROOFS = {
    "two hashes": (
        TlogProof(5, (H1, H2), b"test checkpoint\n"),
        f"c2sp.org/tlog-proof@v1\nindex 5\n{H1_64}\n{H2_64}\n\ntest checkpoint\n",
    ),
    "no hash": (TlogProof(0, (), b"checkpoint\n"), "c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"),
    "a checkpoint with its own empty line": (
        TlogProof(7, (H1,), NOTE),
        f"c2sp.org/tlog-proof@v1\nindex 7\n{H1_64}\n\n{NOTE.decode()}",
    ),
}


@pytest.mark.parametrize("what", PROOFS)
def test_a_proof_is_its_text_and_back(what):
    proof, text = PROOFS[what]
    assert proof.encode() == text.encode()
    assert parse_tlog_proof(text.encode()) == proof


V = "c2sp.org/tlog-proof@v1\n"
NO_PROOFS = {
    "nothing": "",
    "the first line alone": V,
    "another header": "wrong-header\nindex 0\n\ncheckpoint\n",
    "another version": "c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n",
    "the form before the specification": "index 0\n\ncheckpoint\n",
    "an extra line": f"{V}extra ZXh0cmE=\nindex 0\n\ncheckpoint\n",
    "an extra line behind the index": f"{V}index 0\nextra ZXh0cmE=\n\ncheckpoint\n",
    "no index": f"{V}\n\ncheckpoint\n",
    "an index that is no number": f"{V}index notanumber\n\ncheckpoint\n",
    "a negative index": f"{V}index -5\n\ncheckpoint\n",
    "an index with a plus": f"{V}index +5\n\ncheckpoint\n",
    "an index with a leading zero": f"{V}index 05\n\ncheckpoint\n",
    "an index with two spaces": f"{V}index  5\n\ncheckpoint\n",
    "an index with a space behind": f"{V}index 5 \n\ncheckpoint\n",
    "an index in other digits": f"{V}index ٣\n\ncheckpoint\n",
    "an index beyond 63 bits": f"{V}index 9223372036854775808\n\ncheckpoint\n",
    "an index in capitals": f"{V}Index 5\n\ncheckpoint\n",
    "a number alone": f"{V}5\n\ncheckpoint\n",
    "a hash that is not base64": f"{V}index 0\n!!notbase64!!\n\ncheckpoint\n",
    "a hash of 64 bytes": f"{V}index 0\n{base64.b64encode(bytes(64)).decode()}\n\ncheckpoint\n",
    "a hash with a space behind": f"{V}index 0\n{H1_64} \n\ncheckpoint\n",
    "a hash with stray bits": f"{V}index 0\n{base64.b64encode(bytes(32)).decode()[:-2]}B=\n\ncheckpoint\n",
    "64 hashes": f"{V}index 0\n" + f"{H1_64}\n" * 64 + "\ncheckpoint\n",
    "no empty line": f"{V}index 0\n{H1_64}\ncheckpoint\n",
    "carriage returns": f"{V}index 0\n\ncheckpoint\n".replace("\n", "\r\n"),
    "an empty line in front": f"\n{V}index 0\n\ncheckpoint\n",
    "a space in front": f" {V}index 0\n\ncheckpoint\n",
    "too large": f"{V}index 0\n\n" + "x" * MAX_TLOG_PROOF_BYTES,
}


@pytest.mark.parametrize("what", NO_PROOFS)
def test_a_proof_is_refused_for(what):
    with pytest.raises(Malformed) as refused:
        parse_tlog_proof(NO_PROOFS[what].encode())
    assert refused.value.code == "tlog-proof-malformed"


@pytest.mark.parametrize(
    ("index", "hashes"),
    [(-1, ()), (2**63, ()), (0, (b"short",)), (0, (H1,) * (MAX_PROOF_HASHES + 1))],
    ids=["-1", "2^63", "short", "64"],
)
def test_what_no_proof_can_be_is_none(index, hashes):
    with pytest.raises(Malformed) as refused:
        TlogProof(index, hashes, NOTE)
    assert refused.value.code == "tlog-proof-malformed"


ENTRY = b'{"some":"entry"}'
TWO = Checkpoint(ORIGIN, 2, node_hash(H1, leaf_hash(ENTRY)))
LOGGED = TlogProof(1, (H1,), sign_checkpoint(TWO, LOG))


def test_a_proof_opens_to_the_checkpoint_that_holds_the_entry():
    assert open_tlog_proof(LOGGED, ENTRY, LOG.verifier) == TWO


@given(st.integers(0, 8 * len(LOGGED.encode()) - 1))
def test_a_proof_with_any_bit_changed_does_not_open(bit):
    at, mask = divmod(bit, 8)
    raw = LOGGED.encode()
    with pytest.raises(Rejected):
        open_tlog_proof(parse_tlog_proof(raw[:at] + bytes([raw[at] ^ 1 << mask]) + raw[at + 1 :]), ENTRY, LOG.verifier)


@pytest.mark.parametrize(
    ("proof", "entry", "key", "code"),
    [
        (LOGGED, ENTRY + b" ", LOG.verifier, "inclusion-proof"),
        (TlogProof(0, (H1,), LOGGED.checkpoint), ENTRY, LOG.verifier, "inclusion-proof"),
        (TlogProof(1, (H2,), LOGGED.checkpoint), ENTRY, LOG.verifier, "inclusion-proof"),
        (TlogProof(1, (), LOGGED.checkpoint), ENTRY, LOG.verifier, "inclusion-proof"),
        (TlogProof(1, (H1,), NOTE), ENTRY, LOG.verifier, "inclusion-proof"),
        (TlogProof(1, (H1,), b"no note"), ENTRY, LOG.verifier, "note-malformed"),
        (LOGGED, ENTRY, NoteSigner.create(ORIGIN, bytes(32)).verifier, "note-signature"),
    ],
    ids=["another entry", "another index", "another hash", "no hash", "another tree", "no checkpoint", "another key"],
)
def test_a_proof_does_not_open_for(proof, entry, key, code):
    with pytest.raises(Rejected) as refused:
        open_tlog_proof(proof, entry, key)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("old", "proof"), [(0, ()), (5, (H1, H2)), (20852163, ()), (2**63 - 1, (H1,) * 63)], ids=["0", "5", "same", "63"]
)
def test_a_witness_s_request_is_its_text_and_back(old, proof):
    raw = encode_add_checkpoint(old, proof, NOTE)
    lines = "".join(f"{base64.b64encode(one).decode()}\n" for one in proof)
    assert raw == f"old {old}\n{lines}\n".encode() + NOTE
    assert parse_add_checkpoint(raw) == (old, proof, NOTE)


def test_a_log_s_request_fits_what_witnesses_take():
    assert len(encode_add_checkpoint(2**63 - 1, (H1,) * 63, NOTE)) < 10 * 1024


NO_REQUESTS = {
    "nothing": "",
    "no old size": f"{H1_64}\n\ncheckpoint\n",
    "an old size without its word": "5\n\ncheckpoint\n",
    "another word": "new 5\n\ncheckpoint\n",
    "the word in capitals": "Old 5\n\ncheckpoint\n",
    "an old size with a leading zero": "old 05\n\ncheckpoint\n",
    "an old size with a sign": "old +5\n\ncheckpoint\n",
    "an old size with a space behind": "old 5 \n\ncheckpoint\n",
    "an old size in other digits": "old ٣\n\ncheckpoint\n",
    "an old size beyond 63 bits": "old 9223372036854775808\n\ncheckpoint\n",
    "a proof from nothing": f"old 0\n{H1_64}\n\ncheckpoint\n",
    "64 hashes": "old 5\n" + f"{H1_64}\n" * 64 + "\ncheckpoint\n",
    "a hash of 31 bytes": f"old 5\n{base64.b64encode(bytes(31)).decode()}\n\ncheckpoint\n",
    "a hash with stray bits": f"old 5\n{base64.b64encode(bytes(32)).decode()[:-2]}B=\n\ncheckpoint\n",
    "no empty line": f"old 5\n{H1_64}\ncheckpoint\n",
    "carriage returns": "old 5\r\n\r\ncheckpoint\r\n",
    "too large": "old 5\n\n" + "x" * MAX_ADD_CHECKPOINT_BYTES,
}


@pytest.mark.parametrize("what", NO_REQUESTS)
def test_a_witness_s_request_is_refused_for(what):
    with pytest.raises(Malformed) as refused:
        parse_add_checkpoint(NO_REQUESTS[what].encode())
    assert refused.value.code == "add-checkpoint-malformed"


def test_a_note_of_the_largest_size_fits_a_proof_and_a_request():
    room = 4096 + MAX_NOTE_BYTES
    assert len(TlogProof(2**63 - 1, (H1,) * 63, b"x" * MAX_NOTE_BYTES).encode()) <= room == MAX_TLOG_PROOF_BYTES
    assert len(encode_add_checkpoint(2**63 - 1, (H1,) * 63, b"x" * MAX_NOTE_BYTES)) <= room == MAX_ADD_CHECKPOINT_BYTES
    assert EMPTY_B64 == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

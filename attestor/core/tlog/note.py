"""Signed notes (C2SP signed-note v1.0.0): a text, and the lines that sign its bytes.

Two kinds of keys are known, both Ed25519: those that sign the text itself (0x01), and cosigners, which sign it with the time
in front (0x04, C2SP tlog-cosignature).
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestor.core.errors import AttestorError, Malformed, Rejected
from attestor.core.keys import PublicKey, ed25519_key
from attestor.core.tlog.grammar import MAX_NUMBER, read_base64, refuse_controls, write_base64

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100
"""Signature lines of one note, known or not; signed-note asks for 16 at least, Go's x/mod takes as many as this."""

_SIGNATURE_START: Final = "— "
_SKEY_START: Final = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name with a public key of one algorithm; all three make the key ID.

    Raises ``Rejected`` ``vkey-invalid``: a name that is empty or holds white space or a plus, another algorithm, a weak key.
    """

    name: str
    algorithm: int
    """``ED25519`` or ``COSIGNATURE``."""
    public: bytes
    """The point, 32 bytes (RFC 8032 §5.1.2)."""
    _key: PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _is_name(self.name) or self.algorithm not in {ED25519, COSIGNATURE}:
            raise _vkey_invalid()
        try:
            object.__setattr__(self, "_key", ed25519_key(self.public))
        except Rejected:
            raise _vkey_invalid() from None

    @property
    def key_id(self) -> bytes:
        """The 4 bytes by which a signature line names this key; a hint, others may have the same."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[:4]

    @property
    def text(self) -> str:
        """The vkey: ``<name>+<key ID in hex>+<base64>``."""
        return f"{self.name}+{self.key_id.hex()}+{write_base64(bytes([self.algorithm]) + self.public)}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Say whether ``signature``, the bytes after the key ID, is this key's for the note's ``text``."""
        if self.algorithm == ED25519:
            return self._key.verify(signature, text.encode())
        timestamp = int.from_bytes(signature[:8])
        return timestamp <= MAX_NUMBER and self._key.verify(signature[8:], cosigned_bytes(text, timestamp))


def parse_vkey(text: str) -> VerifierKey:
    """Read a vkey; raises ``Rejected`` ``vkey-invalid``."""
    try:
        # base64 holds plus signs of its own, names none.
        name, key_id, encoded = text.split("+", 2)
        raw = read_base64(encoded)
    except ValueError:
        raise _vkey_invalid() from None
    key = VerifierKey(name, int.from_bytes(raw[:1]), raw[1:])
    if key.key_id.hex() != key_id:
        raise _vkey_invalid()
    return key


class NoteSigner:
    """A private key with its name; its repr is that of the public part.

    Made by :meth:`create` or :func:`parse_skey`. Only :attr:`skey` gives the seed away.
    """

    __slots__ = ("_private", "verifier")
    verifier: Final[VerifierKey]

    def __init__(self, verifier: VerifierKey, private: Ed25519PrivateKey) -> None:
        """Keep ``private``, which is the other half of ``verifier``."""
        self.verifier = verifier
        self._private: Final = private

    @classmethod
    def create(cls, name: str, seed: bytes, algorithm: int = ED25519) -> Self:
        """Make a signer of a 32-byte secret seed (RFC 8032 §5.1.5).

        Raises ``Rejected``: ``skey-invalid`` for another length, ``vkey-invalid`` for a bad name or algorithm.
        """
        try:
            private = Ed25519PrivateKey.from_private_bytes(seed)
        except ValueError:
            raise _skey_invalid() from None
        return cls(VerifierKey(name, algorithm, private.public_key().public_bytes_raw()), private)

    @property
    def skey(self) -> str:
        """The secret in the form of Go's x/mod ``note.GenerateKey``."""
        key = self.verifier
        secret = write_base64(bytes([key.algorithm]) + self._private.private_bytes_raw())
        return f"{_SKEY_START}{key.name}+{key.key_id.hex()}+{secret}"

    def sign(self, text: str) -> str:
        """The signature line over a note's text, without its newline.

        Raises ``Malformed`` ``note-malformed`` for what is no text of a note, ``Rejected`` ``note-key-type`` for a cosigner.
        """
        self._refuse_other_than(ED25519)
        return self._line(self._private.sign(_note_text(text)))

    def cosign(self, text: str, timestamp: int) -> str:
        """The cosignature line over a note's text at ``timestamp``, seconds since 1970; raises as :meth:`sign` does."""
        self._refuse_other_than(COSIGNATURE)
        _note_text(text)
        return self._line(timestamp.to_bytes(8) + self._private.sign(cosigned_bytes(text, timestamp)))

    def _line(self, signature: bytes) -> str:
        return SignatureLine(self.verifier.name, self.verifier.key_id, signature).text

    def _refuse_other_than(self, algorithm: int) -> None:
        if self.verifier.algorithm != algorithm:
            raise Rejected(
                "note-key-type",
                f"The key {self.verifier.text} is of type {self.verifier.algorithm}; this signature needs type {algorithm}.",
            )

    def __repr__(self) -> str:
        return f"<signer of {self.verifier.text}>"


def parse_skey(text: str) -> NoteSigner:
    """Read an skey as Go's x/mod writes it; raises ``Rejected`` ``skey-invalid``, which never shows the text."""
    try:
        name, key_id, encoded = text.removeprefix(_SKEY_START).split("+", 2)
        raw = read_base64(encoded)
        signer = NoteSigner.create(name, raw[1:], int.from_bytes(raw[:1]))
    except (ValueError, AttestorError):
        raise _skey_invalid() from None
    if signer.verifier.key_id.hex() != key_id or not text.startswith(_SKEY_START):
        raise _skey_invalid()
    return signer


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note, as it stands there: neither known nor verified."""

    name: str
    key_id: bytes
    signature: bytes
    """What follows the key ID."""

    @property
    def text(self) -> str:
        """The line without its newline."""
        return f"{_SIGNATURE_START}{self.name} {write_base64(self.key_id + self.signature)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it was read; nothing in it is verified."""

    text: str
    """With its final newline, which is signed too."""
    lines: tuple[SignatureLine, ...]

    def encode(self) -> bytes:
        """The whole note; of a parsed one exactly the bytes that were read."""
        return "\n".join([self.text, *(line.text for line in self.lines), ""]).encode()


def parse_note(raw: bytes) -> Note:
    """Split a note at its LAST empty line; raises ``Malformed`` ``note-malformed``."""
    if len(raw) > MAX_NOTE_BYTES:
        raise _note_malformed()
    try:
        text, separator, rest = raw.decode("utf-8").rpartition("\n\n")
    except ValueError:
        raise _note_malformed() from None
    *lines, end = rest.split("\n")
    if not separator or end or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise _note_malformed()
    _note_text(text + "\n")
    return Note(text + "\n", tuple(parse_signature_line(line) for line in lines))


def parse_signature_line(text: str) -> SignatureLine:
    """Read one signature line without its newline; raises ``Malformed`` ``note-malformed``."""
    name, _, encoded = text.removeprefix(_SIGNATURE_START).partition(" ")
    try:
        raw = read_base64(encoded)
    except ValueError:
        raise _note_malformed() from None
    if not text.startswith(_SIGNATURE_START) or not _is_name(name) or len(raw) <= 4:
        raise _note_malformed()
    return SignatureLine(name, raw[:4], raw[4:])


def verified_by(note: Note, keys: Collection[VerifierKey]) -> frozenset[VerifierKey]:
    """Those of ``keys`` that signed the note, at least one.

    Unknown signatures are ignored, as signed-note demands. Raises ``Rejected`` ``note-signature`` when a known key's
    signature is wrong, or no known key signed.
    """
    found: set[VerifierKey] = set()
    for line in note.lines:
        named = [key for key in keys if (key.name, key.key_id) == (line.name, line.key_id)]
        signed = [key for key in named if key.verifies(note.text, line.signature)]
        if named and not signed:
            raise Rejected(
                "note-signature", f"The note's signature of {line.name} is not that key's; trust none of it."
            )
        found.update(signed)
    if not found:
        raise Rejected("note-signature", "No known key signed the note; compare the key names, IDs and vkeys.")
    return frozenset(found)


def cosigned_bytes(text: str, timestamp: int) -> bytes:
    """What a cosigner (0x04) signs for a checkpoint's ``text`` at ``timestamp`` (tlog-cosignature, "Ed25519 signed message")."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _note_text(text: str) -> bytes:
    try:
        refuse_controls(text.replace("\n", ""))
    except ValueError:
        raise _note_malformed() from None
    if not text.endswith("\n"):
        raise _note_malformed()
    return text.encode()


def _is_name(text: str) -> bool:
    try:
        refuse_controls(text)
    except ValueError:
        return False
    return text != "" and "+" not in text and not any(character.isspace() for character in text)


def _note_malformed() -> Malformed:
    return Malformed(
        "note-malformed",
        "This is no signed note: text that ends in a newline, an empty line, and 1 to "
        f"{MAX_SIGNATURES} lines '— name base64', all UTF-8 without control characters, at most {MAX_NOTE_BYTES} bytes.",
    )


def _vkey_invalid() -> Rejected:
    return Rejected(
        "vkey-invalid",
        "The key is no vkey of a sound Ed25519 key (types 1 and 4): <name>+<8 hex digits of its key ID>+<base64>; "
        "copy it whole, on one line.",
    )


def _skey_invalid() -> Rejected:
    return Rejected(
        "skey-invalid",
        "The secret is no skey of an Ed25519 key: PRIVATE+KEY+<name>+<8 hex digits of its key ID>+<base64>, on one line.",
    )

"""What the first bytes of a file claim to be: archives and compressors that libarchive, or what follows it, would open.

An ISO or VM image may carry none of these at offset 0. The list is wider than what one libarchive knows, because the
pacman that meets the file may be linked with another. Sources: libarchive's bidders, and each format's own document.
"""

from typing import Final

HEAD_BYTES: Final = 512
"""How many bytes :func:`archive_magic` looks at: one tar header block."""

_MAGICS: Final = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x1f\x9d", "compress"),
    (0, b"\x1f\x1e", "pack"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x5d\x00\x00", "lzma"),
    (0, b"BZh", "bzip2"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"\x02\x21\x4c\x18", "lz4"),
    (0, b"LZIP", "lzip"),
    (0, b"\x89LZO", "lzop"),
    (0, b"LRZI", "lrzip"),
    (0, b"GRZipII", "grzip"),
    (0, b"PK", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7zip"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"RE~^", "rar"),
    (0, b"MSCF", "cab"),
    (0, b"xar!", "xar"),
    (0, b"#mtree", "mtree"),
    (0, b"WARC/", "warc"),
    (0, b"!<arch>\n", "ar"),
    (0, b"!<thin>\n", "ar"),
    (0, b"070701", "cpio"),
    (0, b"070702", "cpio"),
    (0, b"070707", "cpio"),
    (0, b"\xc7\x71", "cpio"),
    (0, b"\x71\xc7", "cpio"),
    (0, b"\x60\xea", "arj"),
    (0, b"\xed\xab\xee\xdb", "rpm"),
    (0, b"begin ", "uuencode"),
    (0, b"begin-base64 ", "uuencode"),
    (2, b"-lh", "lha"),
    (2, b"-lz", "lha"),
    (2, b"-pm", "lha"),
    # RAR, 7-Zip, CAB and LHA archives may follow a program that unpacks them; libarchive looks behind these two.
    (0, b"MZ", "self-extracting archive"),
    (0, b"\x7fELF", "self-extracting archive"),
    (257, b"ustar", "tar"),
)


def archive_magic(head: bytes) -> str | None:
    """Name the archive or compressor that ``head``, a file's first :data:`HEAD_BYTES`, begins; ``None`` for anything else."""
    for offset, magic, name in _MAGICS:
        if head.startswith(magic, offset):
            return name
    if _is_zstd(head):
        return "zstd"
    return "tar" if _is_tar_header(head) else None


def _is_zstd(head: bytes) -> bool:
    """RFC 8878 §3.1: a frame (the older drafts 0.1 to 0.7 included), or one of the sixteen skippable frames before it."""
    if len(head) < 4:
        return False
    frame = 0x1E <= head[0] <= 0x28 and head[1:4] == b"\xb5\x2f\xfd"
    return frame or (0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18")


def _is_tar_header(head: bytes) -> bool:
    """POSIX.1-1988 ustar: the sum of the block, its own field read as spaces. The oldest tar has no other mark."""
    block = head[:HEAD_BYTES]
    field = block[148:156].strip(b" \x00")
    if len(block) < HEAD_BYTES or not field or field.strip(b"01234567"):
        return False
    summed = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in summed)
    return int(field, 8) in {sum(summed), signed}

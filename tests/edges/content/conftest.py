import io
import lzma
import tarfile
import zlib

import pytest
import zstandard

from attestor.content import inspect as inspection

PACKAGE_INFO = "# made by hand\npkgname = filesystem\npkgver = 2025.10.12-1\narch = any\n"


@pytest.fixture(params=["the system's libarchive", "the wheel's libarchive"])
def library(request):
    if request.param.startswith("the wheel"):
        return inspection.wheel_libarchive()
    found = inspection.find_library("archive")
    if found is None:
        pytest.skip("this system has no libarchive")
    return found


@pytest.fixture(scope="session")
def tar_of():
    """`tar_of({"a/desc": b"..", "a/": None, "link": ("target",)})` is a plain tar; also takes pairs, to repeat a name."""

    def build(members, fmt=tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=fmt) as tar:
            for name, content in members.items() if isinstance(members, dict) else members:
                entry = tarfile.TarInfo(name)
                if content is None:
                    entry.type = tarfile.DIRTYPE
                elif isinstance(content, tuple):
                    entry.type, entry.linkname = content
                else:
                    entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content if isinstance(content, bytes) else b""))
        return file.getvalue()

    return build


@pytest.fixture(scope="session")
def package_of(tar_of):
    """A package that pacman reads."""

    def build(package_info=PACKAGE_INFO, more=None):
        members = {".PKGINFO": package_info.encode(), "etc/": None, "etc/x": b"x"} | (more or {})
        return zstandard.compress(tar_of(members))

    return build


@pytest.fixture
def iso_of(tmp_path, monkeypatch):
    """An ISO9660 image as libarchive writes it, with Rock Ridge and Joliet trees unless the options say otherwise."""
    # Read once, when the module is imported: without the system's library, the wheel's.
    monkeypatch.setenv("LIBARCHIVE", inspection.libarchive())
    import libarchive

    def build(members, options=""):
        path = tmp_path / "written.iso"
        with libarchive.file_writer(str(path), "iso9660", options=options) as writer:
            for name, content in members.items():
                writer.add_file_from_memory(name, len(content), content)
        return path.read_bytes()

    return build


@pytest.fixture(scope="session")
def huge_xz():
    """An xz stream whose header asks for a dictionary of 4 GiB - 1 (xz file format §5.3.1), with its CRC put right."""
    stream = bytearray(lzma.compress(b"x" * 1024, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32))
    length = (stream[12] + 1) * 4
    header = stream[12 : 12 + length - 4]
    at = header.index(b"\x21\x01") + 2
    header[at] = 40
    stream[12 : 12 + length] = header + zlib.crc32(header).to_bytes(4, "little")
    return bytes(stream)

"""``python -m attestor.emulator --state DIR --listen 127.0.0.1:8443``"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from attestor.emulator.errors import StartError
from attestor.emulator.folder import held_folder
from attestor.emulator.server import Options, serve


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; 1 with a sentence on standard error if it cannot start."""
    options = _parse(arguments)
    os.umask(0o077)
    try:
        with held_folder(options.state):
            asyncio.run(serve(options))
    except (StartError, OSError) as error:
        print(f"emulator: {error}", file=sys.stderr)  # noqa: T201 - a program's last word
        return 1
    return 0


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m attestor.emulator",
        description="A NetHSM made of software, for tests and demonstrations. It keeps private keys in a plain file.",
    )
    add = parser.add_argument
    add("--state", type=Path, required=True, help="folder for state and keys; made with mode 0700 if it is not there")
    add("--listen", type=_address, default="127.0.0.1:8443", help="host:port; port 0 picks a free one (%(default)s)")
    add("--ready-file", type=Path, help="JSON with url, fingerprint and certificate, written when the port is open")
    add("--certificate-file", type=Path, help="copy the TLS certificate (PEM) to this file")
    add("--faults", action="store_true", help="open /faults, where anyone who reaches the port can order faults")
    add("--sign-delay-ms", type=_natural, default=0, help="how long each signature takes at least (%(default)s)")
    add("--sign-slots", type=_natural, default=0, help="how many signatures are made at a time; 0: any number")
    add(
        "--lose-operations", action="store_true", help="forget at the end how often keys were used, as a power cut does"
    )
    add("--exit-with-parent", action="store_true", help="end when standard input is closed")
    given = parser.parse_args(arguments)
    return Options(
        state=given.state,
        host=given.listen[0],
        port=given.listen[1],
        ready_file=given.ready_file,
        certificate_file=given.certificate_file,
        faults=given.faults,
        sign_delay=given.sign_delay_ms / 1000,
        sign_slots=given.sign_slots,
        exit_with_parent=given.exit_with_parent,
        lose_operations=given.lose_operations,
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

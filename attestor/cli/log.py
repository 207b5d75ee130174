"""For who sets up the log: its key, a signer's seal, and the anchor that only a person makes."""

from pathlib import Path
from typing import Annotated

import typer

from attestor.cli.output import ConfigOption, JsonOption, say, say_json

app = typer.Typer(help="The transparency log, and what a signer remembers of it.", no_args_is_help=True)
anchor = typer.Typer(help="The last checkpoint that a signer accepted, outside the database.", no_args_is_help=True)
app.add_typer(anchor, name="anchor")

OutOption = Annotated[Path, typer.Option("--out", help="A new file for the secret, made with mode 0600.")]


@app.command("keygen")
def keygen(
    name: Annotated[str, typer.Argument(help="The log's origin: the policy's origin, a slash, and a name.")],
    *,
    out: OutOption,
) -> None:
    """Make a log's own key; print what the policy says of it."""
    from attestor.app.logkeys import new_log_key
    from attestor.embedded.files import write_new

    made = new_log_key(name)
    write_new(out, made.skey.encode())
    say(f"{out} (0600): the credential that [log] key of attestor.toml names, for the sequencer alone")
    say(f'\nFor the policy:\n\n[log]\nkey = "{made.verifier.text}"')


@app.command("seal")
def seal(*, out: OutOption) -> None:
    """Make the key with which a signer seals what it says in the log; print what the policy says of it."""
    from attestor.app.logkeys import new_seal
    from attestor.embedded.files import write_new

    made = new_seal()
    write_new(out, made.secret.reveal().encode())
    say(f"{out} (0600): the credential that [signer] seal of attestor.toml names, for that signer alone")
    say(f'\nFor the policy, beside the signers that are there:\n\n[log]\nsigners = ["""\n{made.public_pem}"""]')


@anchor.command("init")
def init(
    *,
    config: ConfigOption,
    size: Annotated[int, typer.Option(help="The tree size of a checkpoint that you trust; 0 for a new log.", min=0)],
    root: Annotated[str, typer.Option(help="Its root hash, as the checkpoint writes it (base64), or in hex.")],
) -> None:
    """Make a signer's anchor, once; a person does this, because it decides which log the signer believes.

    Compare size and root with what witnesses, auditors or an export say, never with the database alone.
    """
    from attestor.anchor.anchorfile import make_anchor
    from attestor.config import load_config

    folder = load_config(config).signer.anchor
    make_anchor(folder, size, _root(root))
    say(f"{folder} holds the anchor: tree size {size}, root {root}. Keep it out of every backup.")


@anchor.command("show")
def show(*, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show the checkpoint that the signer accepted last."""
    from base64 import b64encode

    from attestor.anchor.anchorfile import read_anchor
    from attestor.config import load_config

    found = read_anchor(load_config(config).signer.anchor)
    root = b64encode(bytes.fromhex(found.root)).decode()
    if as_json:
        say_json({"id": found.id, "since": found.since, "size": found.size, "root": root})
    else:
        say(f"tree size {found.size}\nroot      {root}\nanchor    {found.id}, made at tree size {found.since}")


def _root(text: str) -> bytes:
    from base64 import b64decode

    from attestor.core.errors import Rejected

    try:
        raw = bytes.fromhex(text) if len(text) == 64 else b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise Rejected("root-malformed", "A root hash is 32 bytes: 44 characters of base64, or 64 hex digits.")
    return raw

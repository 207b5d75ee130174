"""For the first hour: files and folders to start from, and certificates for those who connect."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attestor.cli.output import now, say

if TYPE_CHECKING:
    from attestor.embedded.ca import CertificateAuthority

_FOLDERS = ("credentials", "spool", "scratch", "release")
_LOOPBACK = ("127.0.0.1", "::1")
_CLIENT = "build-service"
_DAYS = 825

authority = typer.Typer(
    help="The private CA that init made: certificates of listeners and requesters.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, made with mode 0700.")],
    *,
    origin: Annotated[str, typer.Option(help="The name of this instance; it never changes.")] = "attestor.example.org",
    server_name: Annotated[
        list[str] | None, typer.Option(help="A host name that clients connect to; may be repeated.")
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Use the embedded PostgreSQL and the emulated NetHSM.")
    ] = False,
) -> None:
    """Write a commented policy and deployment file, a CA, the log's and signer's keys, and say what comes next."""
    from attestor.app.logkeys import new_log_key, new_seal
    from attestor.cli.examples import first_deployment, first_policy
    from attestor.embedded.ca import CertificateAuthority
    from attestor.embedded.files import write_new

    place = _empty(folder)
    for name in _FOLDERS:
        (place / name).mkdir(mode=0o700)
    made = CertificateAuthority.create(place / "ca", name=f"{origin} CA"[:63].lower().replace(" ", "-"), now=now())
    _issue_server(made, place, server_name or [])
    client = made.issue(_CLIENT, client=True, valid_days=_DAYS, now=now())
    client.write(place)
    if not embedded:
        _make_passwords(place / "credentials")
    log_key, seal = new_log_key(f"{origin}/log"), new_seal()
    write_new(place / "credentials" / "log-key", log_key.skey.encode())
    write_new(place / "credentials" / "signer-seal", seal.secret.reveal().encode())
    policy = first_policy(origin, client.client_fingerprint, now(), log_key=log_key.verifier.text, seal=seal.public_pem)
    write_new(place / "policy.toml", policy.encode())
    write_new(place / "attestor.toml", first_deployment(embedded=embedded).encode())
    _say_next(place, embedded=embedded)


def _empty(folder: Path) -> Path:
    from attestor.core.errors import Conflict
    from attestor.embedded.files import own_folder

    place = own_folder(folder)
    if any(place.iterdir()):
        raise Conflict("folder-not-empty", f"{place} is not empty, and init overwrites nothing: give a new folder.")
    return place


def _issue_server(made: "CertificateAuthority", place: Path, names: list[str]) -> None:
    from attestor.embedded.files import write_new

    issued = made.issue(
        "server",
        server_names=["localhost", *names],
        ips=[ip_address(text) for text in _LOOPBACK],
        client=False,
        valid_days=_DAYS,
        now=now(),
    )
    write_new(place / "server.pem", issued.certificate_pem)
    write_new(place / "credentials" / "server.key", issued.key_pem)


def _make_passwords(credentials: Path) -> None:
    import secrets

    from attestor.embedded.files import write_new

    for user in ("api", "sequencer", "signer", "owner"):
        write_new(credentials / f"database-{user}-password", secrets.token_urlsafe(32).encode())


def _say_next(place: Path, *, embedded: bool) -> None:
    from attestor.cli.examples import EMPTY_TREE

    config = f"--config {place / 'attestor.toml'}"
    say(f"{place} holds policy.toml, attestor.toml, a CA (ca/), and the client certificate {_CLIENT}.pem.")
    say("\nNext:")
    steps = [
        "attestor-rebuilder keygen       on each operator's own host; put what it prints into policy.toml",
        f"attestor policy check {place / 'policy.toml'}",
    ]
    anchor = f"attestor log anchor init {config} --size 0 --root {EMPTY_TREE}"
    if embedded:
        steps.append(anchor)
    else:
        steps += [
            f"edit {place / 'attestor.toml'}: the NetHSM's URL and fingerprint, the user IDs",
            "make the database attestor and its owner attestor_owner, with the password in credentials/",
            f"attestor migrate {config}",
            "give the users attestor_api, attestor_sequencer and attestor_signer, which it made, their passwords in credentials/",
            f"attestor hsm provision {config}",
            f"{anchor}    once, as the user that the signer runs as; no backup may hold it",
            f"attestor check {config}",
        ]
    for number, step in enumerate([*steps, f"attestor serve {config}"], start=1):
        say(f"  {number}. {step}")


@authority.command("issue")
def issue(  # noqa: PLR0913 - one flag each
    name: Annotated[str, typer.Argument(help="Who the certificate is for: a-z, 0-9, dots and dashes.")],
    *,
    ca: Annotated[Path, typer.Option(help="The CA's folder, as init made it.")] = Path("ca"),
    out: Annotated[Path, typer.Option(help="An own folder for NAME.pem and NAME.key.")] = Path(),
    server_name: Annotated[
        list[str] | None, typer.Option(help="A host name or address of a listener; may be repeated.")
    ] = None,
    client: Annotated[bool, typer.Option("--client", help="A certificate for a requester.")] = False,
    days: Annotated[int, typer.Option(help="For how many days.", min=1)] = _DAYS,
) -> None:
    """Make a key and certificate; for a requester, print the policy's lines that let it ask."""
    from attestor.embedded.ca import CertificateAuthority

    names, addresses = _names_and_addresses(server_name or [])
    issued = CertificateAuthority.load(ca).issue(
        name, server_names=names, ips=addresses, client=client, valid_days=days, now=now()
    )
    certificate, key = issued.write(out)
    say(f"{certificate} and {key} (0600)")
    if client:
        say(
            f'\nFor the policy; a requester may have several clients:\n\n[requesters.{name}]\nclients = ["{issued.client_fingerprint}"]'
        )


def _names_and_addresses(stated: list[str]) -> tuple[list[str], list[IPv4Address | IPv6Address]]:
    names, addresses = [], []
    for text in stated:
        try:
            addresses.append(ip_address(text))
        except ValueError:
            names.append(text)
    return names, addresses

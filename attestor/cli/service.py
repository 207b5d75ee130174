"""For who runs it: the service itself, and the whole job on embedded parts."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("demo")(demo)


def serve(
    *,
    config: Annotated[Path | None, typer.Option(help="The deployment file, attestor.toml.")] = None,
    role: Annotated[
        Literal["api", "sequencer", "signer"] | None, typer.Option(help="Run this role only, in this process.")
    ] = None,
    embedded: Annotated[
        Path | None, typer.Option(help="A folder for an embedded service with all its parts; made where it is missing.")
    ] = None,
) -> None:
    """Run the service: one child process per role, until SIGTERM."""
    from attestor.app import serve as app_serve
    from attestor.core.errors import Rejected

    if (config is None) == (embedded is None):
        raise Rejected("usage", "Say either --config FILE or --embedded DIR.")
    app_serve.main(config=config, role=role, embedded=embedded)


def demo(
    *,
    folder: Annotated[
        Path | None, typer.Option(help="Keep everything in this new folder (default: a temporary one).")
    ] = None,
) -> None:
    """Show the whole job on embedded parts, in a page of terminal."""
    from attestor.app import demo as app_demo

    app_demo.main(folder)

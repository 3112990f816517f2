"""`backchannel`: one command line, one file a command."""

from __future__ import annotations

import typer

from gateway import __version__
from gateway.cli import check, demo, doctor, explain, serve
from gateway.cli.common import tell
from gateway.errors import BackchannelError

app = typer.Typer(
    name="backchannel",
    help="MCP gateway that routes what servers ask back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(check.check)
app.command()(explain.explain)
app.command()(doctor.doctor)
app.command()(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """MCP gateway that routes what servers ask back."""
    del version


def main() -> None:
    """Run the command line; what the user can mend is one message, never a traceback."""
    try:
        app()
    except BackchannelError as error:
        tell(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

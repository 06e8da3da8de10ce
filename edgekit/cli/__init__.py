"""The command line: parse, call the library, print. Commands load when they are asked for."""

from __future__ import annotations

import atexit
import gc
import sys
from importlib import import_module

import click

from .. import __version__
from ..errors import EdgekitError
from ..quiet import set_environment

#: command -> its module here; in the order in which a user meets them.
COMMANDS = {
    "recipes": "recipes",
    "targets": "targets",
    "plan": "plan",
    "build": "build",
    "inspect": "inspect",
    "sign": "sign",
    "run": "run",
    "flash": "flash",
    "export": "export",
    "devices": "devices",
    "image": "image",
    "profile": "profile",
    "compare": "compare",
    "cost": "cost",
    "assess": "assess",
    "report": "report",
    "doctor": "doctor",
    "store": "store",
    "completion": "completion",
}


class Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in flow order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command that is needed."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where there is none of that name."""
        from ..errors import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command '{args[0]}'{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: edgekit build --recipe distilbert-int8 --target raspberrypi",
)
@click.version_option(__version__, prog_name="edgekit")
def cli() -> None:
    """Shrink a model by a recipe and build what an edge device can run."""


def main() -> None:
    """Entry point: an EdgekitError becomes its lines on stderr and its exit code; Ctrl-C a hint to resume."""
    set_environment()
    gc.set_threshold(100_000, 50, 50)  # imports make many objects and little garbage: looking for it took a fifth
    atexit.register(gc.freeze)  # of a short command's time, and at the exit it is of no use at all
    try:
        code = cli.main(standalone_mode=False)  # a command that exits with a code leaves by returning it
        sys.exit(code if isinstance(code, int) else 0)
    except EdgekitError as error:
        for line in str(error).splitlines():
            click.echo(f"edgekit: {line}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        resumes = sys.argv[1:2] in (["build"], ["flash"])
        kept = "; what is finished is kept, the same command goes on from there" if resumes else ""
        click.echo(f"edgekit: stopped{kept}", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)

"""The command line: `python -m attribution COMMAND`.

Thin: a command reads files, calls the functions of the library and prints what they return. Bad
input ends with one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from attribution.commands import budget, compare
from attribution.errors import AttributionError, AttributionWarning

COMMANDS = {
    budget: ("budget", "what to spend where, from credit and spend"),
    compare: ("compare", "credit per channel under several models"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("always", AttributionWarning)
        warnings.showwarning = _show_warning
        try:
            print(options.run(options))
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nobody reads on; stay silent
        except (AttributionError, OSError) as error:
            print(f"error: {'; '.join(str(error).splitlines())}", file=sys.stderr)
            return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    parser = argparse.ArgumentParser(
        prog="python -m attribution", description="How much each channel earned."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module, (name, text) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=module.DESCRIPTION,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            argument_default=argparse.SUPPRESS,
        )
        command.set_defaults(run=module.run)
        module.describe(command)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)

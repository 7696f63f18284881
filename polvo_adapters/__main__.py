"""The command line: `python -m polvo_adapters`, also installed as `polvo`.

This module reads the arguments and picks the command; what a command needs, `requests` and rich included, is
imported only when it runs, so that `--version` and `--help` answer at once and work without rich.

    exit code   0    a final status below 400; a command that did what it is for
                1    a final status of 400 or above; a login or a token command that failed
                2    wrong usage, or rich is missing
                3    no response
              130    interrupted
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from polvo_adapters.cli.arguments import make_parser

_INTERRUPTED = 130
_PIPE_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program name; that of the process by default.

    Returns:
        The exit code.

    Raises:
        SystemExit: Wrong usage, `--help` or `--version`, as argparse does.
    """
    top = make_parser()
    options = top.parse_args(arguments)
    if options.module is None:
        top.print_help()
        return 0
    try:
        import rich  # noqa: F401 - only to know that it is there
    except ImportError:
        from polvo_adapters.runtime.extras import missing_text

        print(missing_text("the command line", "rich", "cli"), file=sys.stderr)
        return 2
    try:
        code: int = importlib.import_module(options.module).run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return _PIPE_CLOSED
    return code


def _forget_stdout() -> None:
    """Let what is still buffered go nowhere: the flush at exit would fail once more, and say so."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m postfix_mta_sts` and the command `postfix-mta-sts`.

It imports next to nothing before it can handle Ctrl-C: the imports of a command take longer than
some commands run.
"""

import sys


def main() -> int:
    """Run a command; return the exit code of the process."""
    try:
        from postfix_mta_sts.cli.main import main as run  # noqa: PLC0415 (see above)

        return run()
    except KeyboardInterrupt:
        return 130  # as in cli.parser, which may not be imported yet
    finally:
        import signal  # noqa: PLC0415 (by now loaded by most commands)

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interpreter ends now, without a word


if __name__ == "__main__":
    sys.exit(main())

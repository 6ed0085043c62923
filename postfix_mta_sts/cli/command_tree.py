"""The commands of a parser and their arguments, for man pages and for shell completion.

argparse has no public way to list them: of the package, this file alone uses its private parts.
"""

import argparse
from collections.abc import Iterator


def commands_of(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield all commands, those of a group in place of the group, with the help text of each."""
    for action in parser._actions:  # noqa: SLF001 (see above)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 (the same)
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001 (the same)
            for name, command in action.choices.items():
                inner = list(commands_of(command))
                yield from inner or [(command, texts[name])]


def arguments_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a command, without `--help`."""
    for action in parser._actions:  # noqa: SLF001 (the same)
        if not isinstance(action, argparse._HelpAction):  # noqa: SLF001 (the same)
            yield action


def all_arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of all commands."""
    for command, _ in commands_of(parser):
        yield from arguments_of(command)

"""The parser of the command line → the lists of commands in postfix-mta-sts(1)."""

import argparse
from collections.abc import Iterator

from postfix_mta_sts.cli.command_tree import arguments_of, commands_of
from postfix_mta_sts.cli.man.roff import escaped, sentence


def synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a line for each command."""
    first, *others = (_usage(command) for command, _ in commands_of(parser))
    yield first
    for usage in others:
        yield from (".br", usage)


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield each command with its description and its arguments."""
    for command, text in commands_of(parser):
        yield from (".SS " + escaped(command.prog.partition(" ")[2]), _usage(command), ".PP")
        yield escaped(sentence(text))
        for action in arguments_of(command):
            yield from (".TP", _name(action), escaped(sentence(_help(action))))


def _usage(parser: argparse.ArgumentParser) -> str:
    words = [rf"\fB{escaped(parser.prog)}\fR"]
    for action in sorted(arguments_of(parser), key=lambda action: not action.option_strings):
        word = _name(action, last=True)
        optional = (action.option_strings and not action.required) or action.nargs in ("?", "*")
        words.append(f"[{word}]" if optional else word)
    return " ".join(words)


def _name(action: argparse.Action, *, last: bool = False) -> str:
    """Write an argument with all its names, or with the last one only."""
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    written = rf"\fI{escaped(str(value))}\fR"
    if action.option_strings and action.nargs == "?":
        written = f"[{written}]"
    if not action.option_strings:
        return written
    names = action.option_strings[-1:] if last else action.option_strings
    bold = ", ".join(rf"\fB{escaped(name)}\fR" for name in names)
    return bold if action.nargs == 0 else f"{bold} {written}"


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "postfix-mta-sts"}

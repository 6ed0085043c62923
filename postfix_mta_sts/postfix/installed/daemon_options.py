"""The `-o` options in a command of master.cf (master(5)), as the program reads them; pure.

It reads them as getopt(3) does, up to the first word that is no option. It ends at its start if one
of them is not of the form `name=value`: spaces around `=` are for braces (`-o { name = value }`).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.postfix.installed.main_cf_file import assignment, logical_lines
from postfix_mta_sts.postfix.policy_maps import split_words

_COLUMNS: Final = 7
"""Name, type, private, unprivileged, chroot, wakeup, limit of processes; the command follows."""
_WITH_ARGUMENT: Final = "imnost"
"""Options of single_server(3) that have one."""


def written_commands(text: str) -> dict[str, str]:
    """The command of each service of type unix in a master.cf, as it is written.

    `postconf -F` divides the form `-oname=value` at each `o` of it (Postfix 3.10.13).
    """
    lines = (split_words(line) for _, line in logical_lines(text))
    return {
        f"{words[0]}/unix": " ".join(words[_COLUMNS:])
        for words in lines
        if len(words) > _COLUMNS and words[1] == "unix"
    }


def options_of(words: Sequence[str]) -> Iterator[str]:
    """What follows each `-o`, without braces; `words` are those of a command."""
    at = 1
    while _is_option(words, at):
        _, text, at = _read(words, at)
        if text is not None:
            yield text


def refused(command: str) -> tuple[str, ...]:
    """The options without name or `=`, for which the program does not start."""
    return tuple(text for text in options_of(split_words(command)) if not assignment(text))


def corrected(command: str) -> str:
    """The command in which these options have the words up to the next one, or are left out."""
    words = split_words(command)
    kept, at = [*words[:1]], 1
    while _is_option(words, at):
        start = at
        flags, text, at = _read(words, at)
        if text is None or assignment(text):
            kept += words[start:at]
            continue
        rest = [text]
        while at < len(words) and not words[at].startswith("-"):
            rest.append(words[at])
            at += 1
        kept += [*filter(None, [flags]), *_option(" ".join(rest))]
    return " ".join([*kept, *words[at:]])


def _option(text: str) -> tuple[str, ...]:
    """The option that gives this value; none if it is no assignment."""
    pair = assignment(text)
    if pair is None:
        return ()
    name, value = pair
    is_plain = split_words(value) in {(), (value,)} and not value.startswith("{")
    return "-o", f"{name}={value}" if is_plain else f"{{ {name} = {value} }}"


def _is_option(words: Sequence[str], at: int) -> bool:
    return at < len(words) and words[at].startswith("-") and words[at] not in {"-", "--"}


def _read(words: Sequence[str], at: int) -> tuple[str, str | None, int]:
    """The letters before `o` (`-vo`), what follows it, and where the next word is.

    None: the word has no `o`, or nothing follows it.
    """
    word = words[at]
    for position, letter in enumerate(word[1:], start=1):
        if letter in _WITH_ARGUMENT:
            argument, end = word[position + 1 :], at + 1
            if not argument and end < len(words):
                argument, end = words[end], end + 1
            flags = word[:position] if position > 1 else ""
            has_text = letter == "o" and argument
            return flags, _without_braces(argument) if has_text else None, end
    return "", None, at + 1


def _without_braces(text: str) -> str:
    has_both = text.startswith("{") and text.endswith("}")
    return text[1:-1].strip() if has_both else text

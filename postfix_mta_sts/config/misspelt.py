"""Find environment variables that are meant as a setting, but have no effect by their names."""

import re
from collections.abc import Iterator, Mapping

from postfix_mta_sts.config import written
from postfix_mta_sts.config.environment import PREFIX
from postfix_mta_sts.config.settings import Settings


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each such variable, and the right name.

    Variables that Kubernetes sets for a service with the name of the daemon are none of them.
    """
    keys = ["listen", "maps", "exceptions", "trial"]
    keys += [key for key, _ in written.lines(Settings()) if re.fullmatch(r"\w+\.\w+", key)]
    right = {_letters(key): f"{PREFIX}{key.upper().replace('.', '__')}" for key in keys}
    for name in sorted(environ):
        letters = _letters(name)
        meant = right.get(re.sub(r"^(postfix)?mtasts", "", letters))
        if meant and "mtasts" in letters and not name.startswith(PREFIX):
            yield name, meant


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())

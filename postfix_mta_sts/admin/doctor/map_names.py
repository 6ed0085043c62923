"""Which of the daemon's maps suits a version of Postfix. Pure.

README, "The last word of the map", has the same rules. A version that is not known is taken for
one that knows whatever is asked.
"""

from typing import Final

from postfix_mta_sts.config.settings import MapSettings, Settings

PLAIN: Final = "postfix"
TLSRPT: Final = "QUERYwithTLSRPT"
"""The maps that each configuration has unless it replaces them."""

_TLSRPT_SINCE: Final = (3, 10)
_SERVERNAME_SINCE: Final = (3, 4)


def unknown_attribute(form: MapSettings, version: tuple[int, ...]) -> str:
    """The attribute of a map's replies that this Postfix does not know; empty: it knows all."""
    if not version:
        return ""
    if form.tlsrpt and version < _TLSRPT_SINCE:
        return "policy_type"
    return "servername" if form.servername and version < _SERVERNAME_SINCE else ""


def lacks_tlsrpt(form: MapSettings, version: tuple[int, ...]) -> bool:
    """Whether replies have no patterns of MX hosts, though this Postfix would use them."""
    return bool(version) and version >= _TLSRPT_SINCE and not form.tlsrpt


def fits(form: MapSettings, version: tuple[int, ...]) -> bool:
    """Whether a map is the right one for this Postfix."""
    return not unknown_attribute(form, version) and not lacks_tlsrpt(form, version)


def right_name(settings: Settings, version: tuple[int, ...], asked: str = "") -> str:
    """The map that fits, and is otherwise like the one that is asked; else that of README.

    A map on trial is not replaced by one that is not, nor the other way round: policies are
    enforced when the administrator says so.
    """
    own = settings.maps.get(asked, MapSettings())

    def has_same_trial(name: str) -> bool:
        form = settings.maps.get(name, MapSettings())
        return settings.is_on_trial(form) == settings.is_on_trial(own)

    def likeness(name: str) -> tuple[bool, bool]:
        return name == asked, settings.maps[name].enforce_testing == own.enforce_testing

    fitting = [name for name, form in settings.maps.items() if fits(form, version)]
    default = TLSRPT if version >= _TLSRPT_SINCE else PLAIN
    default = default if has_same_trial(default) or not asked else asked
    return max(filter(has_same_trial, fitting), key=likeness, default=default)


def written(version: tuple[int, ...]) -> str:
    """A version as people write it, such as 3.10.13."""
    return ".".join(map(str, version))

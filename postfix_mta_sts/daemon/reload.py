"""The second half of a reload, which is not undone, and what a reload has changed.

Until all that can fail is prepared, a reload that fails changes nothing (`Daemon.reload`). The
steps after that do not fail, unless by a fault of the daemon.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping

from postfix_mta_sts.config.settings import Settings


class IncompleteReloadError(Exception):
    """Some parts of the daemon have the new settings, and others do not.

    `failed` has the parts that do not, with the errors.
    """

    def __init__(self, failed: Mapping[str, Exception]) -> None:
        super().__init__("; ".join(f"{part}: {error!r}" for part, error in failed.items()))
        self.failed = failed


async def carry_out(steps: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Give the settings to each part, also after one that fails.

    Raises `IncompleteReloadError`.
    """
    failed: dict[str, Exception] = {}
    for part, step in steps.items():
        try:
            await step()
        except Exception as error:  # noqa: BLE001 (the other parts must get the settings all the same)
            failed[part] = error
    if failed:
        raise IncompleteReloadError(failed)


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """Return the keys whose values differ; `listen`, `maps`, `exceptions` count as one key each."""
    return list(_changed(before, after))


def _changed(before: object, after: object, where: str = "") -> Iterator[str]:
    names: tuple[str, ...] = getattr(before, "__struct_fields__", ())
    if not names and before != after:
        yield where
    for name in names:
        key = f"{where}.{name}" if where else name
        yield from _changed(getattr(before, name), getattr(after, name), key)

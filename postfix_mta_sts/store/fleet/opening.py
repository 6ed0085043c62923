"""Makes the engine that a location needs; its library is imported then, and may be missing."""

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.errors import FleetError
from postfix_mta_sts.store.fleet.extras import missing_extra
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings


def open_engine(settings: SharedStoreSettings) -> Engine:
    """Make the engine of a location; it connects when it is used.

    Raises `FleetError` if its library was removed after `SharedStoreSettings.of` looked for it, or
    has another version, which lacks a part that is used.
    """
    engine = settings.location.engine
    try:
        match engine:
            case EngineName.REDIS:
                return _redis(settings)
            case EngineName.POSTGRESQL:
                return _postgresql(settings)
    except ImportError as error:
        if reason := missing_extra(engine):
            raise FleetError(reason) from error
        said = f"a library is unusable: {printable(str(error))}"
        raise FleetError(said, "install the version of constraints.txt") from error


def _redis(settings: SharedStoreSettings) -> Engine:
    from postfix_mta_sts.store.fleet.redis.engine import open_redis  # noqa: PLC0415 (an extra)

    return open_redis(settings)


def _postgresql(settings: SharedStoreSettings) -> Engine:
    from postfix_mta_sts.store.fleet.postgresql.engine import (  # noqa: PLC0415 (an extra)
        PostgresqlEngine,
    )

    return PostgresqlEngine(settings)

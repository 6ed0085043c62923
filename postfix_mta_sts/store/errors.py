"""The errors of a store; what to do about them is decided in `failsafe` only."""


class StoreError(Exception):
    """The store could not carry out a request; nothing has changed. `str()` is the reason."""


class DamagedStoreError(StoreError):
    """The file or database cannot be used as a store, and retrying will not help."""

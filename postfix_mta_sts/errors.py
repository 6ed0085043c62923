"""The base class of errors that are shown to a person.

It is in the lowest layer, so that `cli` can catch such an error without importing the module that
raises it.
"""


class UserError(Exception):
    """An error shown as one line: `str()` says what is wrong, where, and why."""

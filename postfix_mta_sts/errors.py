"""Errors of whatever part that a person is told as they are.

Border: the one class, below all others, so that `cli` knows such an error without importing the
part that raises it.
"""


class UserError(Exception):
    """`str()` is one line that says all there is to say: what is wrong, where, and why."""

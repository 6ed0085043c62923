"""What Postfix asks and what it is told, as pure functions of bytes and states.

Nothing here does I/O, reads a clock or logs.
"""

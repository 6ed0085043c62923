"""RFC 8461 as pure functions: grammar, names, and the life of a policy.

Nothing here does I/O, reads a clock or logs.
"""

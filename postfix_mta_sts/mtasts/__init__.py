"""RFC 8461 as pure functions: grammar, domain names, and the life of a policy.

No module here does I/O, reads a clock or logs.
"""

"""MTA-STS (RFC 8461) for Postfix: a daemon that looks up the policies of domains."""

# A literal, which the build reads: importlib.metadata would cost each process 35 ms.
__version__ = "0.1.0"

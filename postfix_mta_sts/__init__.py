"""Postfix keeps the promises that other domains publish with MTA-STS (RFC 8461)."""

# Written here, from where the build takes it: importlib.metadata costs each process 35 ms.
__version__ = "0.1.0"

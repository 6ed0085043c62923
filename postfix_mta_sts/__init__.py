"""Postfix keeps the promises that other domains publish with MTA-STS (RFC 8461)."""

from importlib.metadata import version

__version__ = version("postfix-mta-sts")

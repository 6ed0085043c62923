"""Builds a release from a tag: `make release`; see docs/releasing.md.

Two builds of a tag are equal byte for byte. Nothing is published.
"""


class ReleaseError(Exception):
    """No release can be built; `str()` is the reason, for the maintainer."""

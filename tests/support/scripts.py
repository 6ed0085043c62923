"""Small shell scripts in place of programs that a test cannot have, such as those of Postfix."""

from pathlib import Path


def script(path: Path, body: str) -> str:
    """Write an executable file that runs these lines of shell; return its path."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)

"""Stand-ins for the other resolvers of docs/migrating.md: units of their names, on their ports."""

from pathlib import Path
from typing import Final

RESOLVER: Final = ("postfix-mta-sts-resolver.service",)
TLSPOL: Final = ("postfix-tlspol.socket", "postfix-tlspol.service")
"""Names of units."""
_UNITS: Final = "etc/systemd/system"
_LISTEN: Final = "s = __import__('socket').create_server(('127.0.0.1', 8461)); s.accept()"
_FILES: Final = {
    f"{_UNITS}/{RESOLVER[0]}": f"""\
[Service]
ExecStart=python3 -c "{_LISTEN}"
[Install]
WantedBy=multi-user.target
""",
    f"{_UNITS}/{TLSPOL[0]}": """\
[Socket]
ListenStream=127.0.0.1:8642
[Install]
WantedBy=sockets.target
""",
    f"{_UNITS}/{TLSPOL[1]}": """\
[Service]
ExecStart=sleep 999
[Install]
WantedBy=multi-user.target
""",
    "usr/local/bin/postfix-tlspol": """\
#!/bin/sh
echo 'example.org secure match=mx.example.org servername=hostname'
""",
}


def install(root: Path) -> None:
    """Write the units, and a program that lists one domain, into a system."""
    for path, text in _FILES.items():
        (root / path).write_text(text)
    (root / "usr/local/bin/postfix-tlspol").chmod(0o755)

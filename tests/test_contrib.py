"""What is shipped beside the package fits the package."""

import re
from pathlib import Path

from postfix_mta_sts.config import Settings, parse

ROOT = Path(__file__).parents[1]


def test_socket_unit_opens_the_default_address() -> None:
    """The socket of systemd is the one that the daemon looks for without a configuration."""
    unit = (ROOT / "contrib/systemd/postfix-mta-sts.socket").read_text("utf-8")
    addresses = re.findall(r"^ListenStream=(.*)$", unit, re.MULTILINE)
    assert addresses == [str(listener.address) for listener in Settings().listen]


def test_image_listens_where_it_can_be_reached() -> None:
    """The image's configuration is valid, and is not on the container's own loopback."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    written = re.search(r"printf '(.*)' > /etc/postfix-mta-sts\.yml", dockerfile)
    assert written
    (listener,) = parse(written[1].replace("\\n", "\n"), "image").listen
    exposed = re.search(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)
    assert exposed
    assert str(listener.address) == f"0.0.0.0:{exposed[1]}"

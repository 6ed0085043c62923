"""Some 290 labels and names of labels, and the A-labels for which Postfix looks up MX records.

`idn_names.json` holds what Postfix 3.10 of Debian 13 (ICU 76) and Postfix 3.7 of Debian 12 (ICU 72)
did; a pair where they differ. Null: Postfix refuses the address, and asks for no policy.
`tests/e2e/test_idn.py` compares it with both.
"""

import json
from pathlib import Path
from typing import Final

_FILE = Path(__file__).with_suffix(".json")

NAMES: Final[dict[str, str | None]] = {}
"""Name → its A-labels in Postfix 3.10."""
OLD_NAMES: Final[dict[str, str | None]] = {}
"""The same in Postfix 3.7."""

for group in json.loads(_FILE.read_text("ascii")).values():
    for name, mapped in group.items():
        NAMES[name], OLD_NAMES[name] = mapped if isinstance(mapped, list) else (mapped, mapped)

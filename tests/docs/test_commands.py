"""Every block of commands in a page says what runs it; see `blocks`."""

import pytest

from tests.docs.blocks import PAGES, ROOT, STAGES, Block, blocks, parse

EVERY = [block for page in PAGES for block in blocks(page)]


def where(block: Block) -> str:
    """The place of a block, as the id of a test."""
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", EVERY, ids=where)
def test_marked(block: Block) -> None:
    """A comment before the block names a stage, a test, another page, or a reason."""
    advice = f"write a comment before {where(block)}, as in tests/docs/blocks.py:\n{block.text}"
    assert block.kind, advice
    match block.kind:
        case "run":
            assert block.value in STAGES, advice
        case "run by":
            assert (ROOT / block.value).is_file(), advice
        case "same as":
            others = [each.text for each in blocks(ROOT / block.value) if each.kind != "same as"]
            assert block.text in others, advice
        case _:
            assert len(block.value.split()) >= 3, advice


def test_readme_has_every_stage() -> None:
    """README.md alone leads from the installation to the removal."""
    named = {block.value for block in EVERY if (block.page, block.kind) == ("README.md", "run")}
    others = {"docs", "log", "from the resolver", "from tlspol", "chroot", "remove all"}
    assert named == set(STAGES) - others


def test_what_a_block_is() -> None:
    """Indented and fenced commands are found; output, settings and prose are not."""
    page = """
Prose about
    postfix reload in a paragraph.

    postfix-mta-sts version

<!-- run: check -->

    postmap -q a \\
        b

```sh
postfix reload
```

    smtp_tls_loglevel = 1

```yaml
postfix: {tlsrpt: true}
```
"""
    assert list(parse(page, "x")) == [
        Block("x", 5, "postfix-mta-sts version\n", "", ""),
        Block("x", 9, "postmap -q a \\\n    b\n", "run", "check"),
        Block("x", 12, "postfix reload\n", "", ""),
    ]

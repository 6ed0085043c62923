"""Where each setting comes from."""

from postfix_mta_sts.config.origins import Origins


def test_lines() -> None:
    """Keys of the file have lines, also one that is not valid; those of variables have none."""
    text = "log:\n  level: debug\n  nonsense: 1\nlisten:\n- socketmap: x\n"
    origins = Origins(text, "c.yml", {"POSTFIX_MTA_STS__LOG__LEVEL": "info"})
    assert origins.lines == {
        "log": 1,
        "log.nonsense": 3,
        "listen": 4,
        "listen[0]": 5,
        "listen[0].socketmap": 5,
    }

"""The words for errors of certificate chains are OpenSSL's."""

from postfix_mta_sts.network.smtp.verify_errors import reason_of
from tests.support.openssl import LibCrypto

FREQUENT = (2, 7, 9, 10, 18, 19, 20, 21, 22, 24, 25, 26, 27, 28, 32, 34, 37, 41, 66, 67, 68, 79)


def test_openssl_says_the_same() -> None:
    """Each number has the words that the system's OpenSSL has for it."""
    libcrypto = LibCrypto()
    expected = {code: libcrypto.verify_error(code) for code in FREQUENT}
    assert {code: reason_of(code) for code in FREQUENT} == expected


def test_other_numbers() -> None:
    """An error that MX hosts do not cause is a number."""
    assert reason_of(11) == "error 11 of OpenSSL"

"""Ask OpenSSL itself, the library of the system."""

import ctypes
import ctypes.util
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_NO_PARTIAL_WILDCARDS: Final = 0x4
"""X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, the flag that Postfix sets."""


class LibCrypto:
    """The functions of libcrypto that tests call; skips the test if there is no such library."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("crypto")
        if path is None:
            pytest.skip("no libcrypto")
        self._library = ctypes.CDLL(path)
        self._library.d2i_X509.restype = ctypes.c_void_p
        self._library.X509_verify_cert_error_string.restype = ctypes.c_char_p

    def fits(self, certificate: x509.Certificate, name: str) -> bool:
        """X509_check_host(3)."""
        der = certificate.public_bytes(Encoding.DER)
        start = ctypes.c_char_p(der)
        parsed = ctypes.c_void_p(self._library.d2i_X509(None, ctypes.byref(start), len(der)))
        reference = name.encode()
        try:
            return bool(
                self._library.X509_check_host(
                    parsed,
                    reference,
                    ctypes.c_size_t(len(reference)),
                    ctypes.c_uint(_NO_PARTIAL_WILDCARDS),
                    None,
                )
                == 1
            )
        finally:
            self._library.X509_free(parsed)

    def verify_error(self, code: int) -> str:
        """X509_verify_cert_error_string(3)."""
        words: bytes = self._library.X509_verify_cert_error_string(code)
        return words.decode()

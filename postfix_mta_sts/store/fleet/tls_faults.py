"""What ends the trouble if TLS to a shared store fails."""

import ssl
from typing import Final

_OTHER_NAME: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH; openssl/x509_vfy.h."""
_OUT_OF_DATE: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_NOT_TRUSTED: Final = (18, 19, 20, 21)
"""Self-signed, alone or in the chain; an issuer that is not known; a chain of one."""


def mend_of(error: ssl.SSLError) -> str:
    """Say what an administrator does about an error of the handshake."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "does this port speak TLS 1.2 or later; the log of the store may have more"
    if error.verify_code in _OTHER_NAME:
        return "write a name of the certificate into fleet.url, or have this one put into it"
    if error.verify_code in _OUT_OF_DATE:
        return "give the store a certificate that is valid now; are the clocks right"
    if error.verify_code in _NOT_TRUSTED:
        return "write the CA of the store's certificate, in PEM, into the file in fleet.ca_file"
    return "give the store a certificate that OpenSSL accepts: openssl s_client shows it"

"""Speak TLS with an MX host as smtp(8) does, and say what is wrong with its certificate chain.

This is the only file that imports OpenSSL (pyOpenSSL). Python's `ssl` either ends the handshake at
the first error of a chain, or does not check it; and before 3.13 it gives the chain to nobody. Here
a callback accepts every error and keeps the one that Postfix reports (tls_verify.c).
"""

import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib  # private; see `_call_back`

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.network.smtp.failures import LOST, ConversationError
from postfix_mta_sts.network.smtp.values import FailureKind, VerifyError
from postfix_mta_sts.network.smtp.verify_errors import reason_of
from postfix_mta_sts.network.stream import PIECE, Stream

MAX_OVERHEAD: Final = 131_072
"""Bytes of TLS that are not data. OpenSSL, and so Postfix, accepts a chain of 100 KiB."""

_VERIFY_DEPTH: Final = 10
"""smtp_tls_scert_verifydepth, and one more, as Postfix sets it."""

_MEDIUM: Final = (
    b"HIGH:MEDIUM:!aDSS:!kDH:!kECDH:!3DES:!IDEA:!MD5:!PSK:!RC2:!RC4:!RC5:!SEED:!SRP:@STRENGTH"
)
_STRICT: Final = _MEDIUM + b":!aNULL:@SECLEVEL=1"
"""smtp_tls_mandatory_ciphers = medium, and the security level that Postfix sets where it verifies
certificates, whatever the system's is (tls_client.c). OpenSSL 3 has TLS 1.2 and later there."""
_LENIENT: Final = b"aNULL:-aNULL:" + _MEDIUM + b":@SECLEVEL=0"
"""Where Postfix does not verify them: from TLS 1.0 on, even without a certificate."""

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (X509_VERIFY_PARAM_set_flags(3)), for which pyOpenSSL has no name."""

_CALLBACK: Final = "int (*)(int, X509_STORE_CTX *)"


class Trust:
    """The CAs that Postfix trusts: smtp_tls_CAfile, smtp_tls_CApath, tls_append_default_CA.

    Without file and folder it trusts none, whatever `append_default_ca` says. A chrooted smtp(8)
    opens the folder, but not the file, in its root directory; pass the path as it is outside.
    `default_ca` is the file and the folder of OpenSSL; None: those of the system's. Raises
    `UserError` if `ca_file` cannot be used, and `MemoryError` (see `_call_back`).
    """

    def __init__(
        self,
        ca_file: str,
        ca_path: str,
        append_default_ca: bool,  # noqa: FBT001 (the parameters of main.cf, in their order)
        default_ca: tuple[str, str] | None = None,
    ) -> None:
        self._strict = _context(_STRICT, SSL.TLS1_2_VERSION)
        self._lenient = _context(_LENIENT, SSL.TLS1_VERSION)
        for context in (self._strict, self._lenient):
            if ca_file:
                _load_file(context, ca_file)
            if ca_path:
                context.load_verify_locations(None, ca_path)
            if append_default_ca and (ca_file or ca_path):
                _load_default(context, *(default_ca or _system_ca()))

    def connection(self, sni: str | None, *, is_verified: bool) -> SSL.Connection:
        """A TLS client without a socket, as strict as Postfix (`ProbeTarget.is_verified`)."""
        connection = SSL.Connection(self._strict if is_verified else self._lenient, None)
        connection.set_connect_state()
        if sni:
            connection.set_tlsext_host_name(sni.encode())
        return connection


class TlsStream:
    """TLS over an open stream; call `handshake` first, then `write` and `read`."""

    def __init__(self, stream: Stream, trust: Trust, sni: str | None, *, is_verified: bool) -> None:
        self._stream = stream
        self._session = trust.connection(sni, is_verified=is_verified)
        self._errors = _Errors()
        self._session.set_app_data(self._errors)
        self._overhead = 0

    async def handshake(self) -> None:
        """Complete the handshake, whatever the certificate is; raises `ConversationError`."""
        try:
            while True:
                try:
                    self._session.do_handshake()
                except SSL.WantReadError:
                    await self._receive()
                else:
                    self._flush()
                    return
        except SSL.Error as error:
            self._flush()  # the alert tells the server's administrator
            _raise(error)

    async def read(self) -> bytes:
        """The next data; empty at the end. Raises `ConversationError`.

        An end without a close alert counts as one, as with Postfix (SSL_OP_IGNORE_UNEXPECTED_EOF).
        """
        try:
            while True:
                try:
                    data = self._session.recv(PIECE)
                except SSL.WantReadError:
                    await self._receive()
                else:
                    self._overhead -= len(data)
                    return data
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return b""
        except SSL.Error as error:  # Postfix makes no difference to a connection that was closed
            raise ConversationError(FailureKind.CLOSED, f"{LOST}: {_reason(error)}") from None

    def write(self, data: bytes) -> None:
        """Encrypt and send a little data."""
        with suppress(SSL.Error):  # the next `read` tells
            self._session.send(data)
        self._flush()

    def close(self) -> None:
        """Tell the host that no more data will come (RFC 8446 §6.1)."""
        with suppress(SSL.Error):
            self._session.shutdown()
        self._flush()

    @property
    def version(self) -> str:
        """The version of the protocol, such as `TLSv1.3`."""
        return self._session.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        """The cipher suite, as OpenSSL calls it."""
        return self._session.get_cipher_name() or ""

    @property
    def chain(self) -> list[bytes]:
        """The certificates as the host sent them, in DER."""
        return [_der(certificate) for certificate in self._session.get_peer_cert_chain() or ()]

    @property
    def error(self) -> VerifyError | None:
        """Why the chain is not trusted."""
        return self._errors.reported

    async def _receive(self) -> None:
        self._flush()
        if self._overhead > MAX_OVERHEAD:
            reason = f"more than {MAX_OVERHEAD} bytes of TLS without data"
            raise ConversationError(FailureKind.TLS, reason)
        data = await self._stream.read()
        self._overhead += len(data)
        if data:
            self._session.bio_write(data)
        else:
            self._session.bio_shutdown()

    def _flush(self) -> None:
        with suppress(SSL.WantReadError):
            while True:
                self._stream.write(self._session.bio_read(PIECE))


def path_to(anchor: bytes, leaf: bytes, untrusted: Sequence[bytes]) -> list[bytes] | str:
    """Build and check the path from a certificate to a trust anchor, all in DER.

    Return its certificates, the leaf first, or why there is none. Signatures and the rules for CA
    certificates are checked; dates, names and purposes are not.
    """
    try:
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | _NO_CHECK_TIME)
        store.add_cert(_x509(anchor))
        context = crypto.X509StoreContext(store, _x509(leaf), [_x509(der) for der in untrusted])
        return [_der(certificate) for certificate in context.get_verified_chain()]
    except crypto.X509StoreContextError as error:
        return printable(str(error))
    except crypto.Error:
        return "a certificate is not readable"


class _Errors:
    """Of the errors of a chain the first one that is closest to the host's own certificate."""

    def __init__(self) -> None:
        self.reported: VerifyError | None = None

    def note(self, code: int, depth: int) -> None:
        if self.reported is None or depth < self.reported.depth:
            self.reported = VerifyError(code=code, depth=depth, reason=reason_of(code))


def _note_error(
    connection: SSL.Connection, _: crypto.X509 | None, code: int, depth: int, is_good: int
) -> bool:
    """Called by OpenSSL for each certificate, and for each error; accepts it."""
    if not is_good:
        connection.get_app_data().note(code, depth)
    return True


def _context(ciphers: bytes, oldest: int) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(oldest)
    context.set_cipher_list(ciphers)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    _call_back(context)
    context.set_verify_depth(_VERIFY_DEPTH)
    return context


def _call_back(context: SSL.Context) -> None:
    """Have OpenSSL call `_note_error`, which it does in any mode.

    The callbacks of cffi, and so of pyOpenSSL, need memory that is writable and executable. Where
    that is forbidden, as by MemoryDenyWriteExecute= of the systemd unit, those of ctypes work, with
    libffi 3.4 (Debian 12). Raises `MemoryError` if they do not, either.
    """
    try:
        context.set_verify(SSL.VERIFY_NONE, _note_error)
    except MemoryError:
        # Private parts of pyOpenSSL: `_util`, `Context._context`, `Connection._reverse_mapping`.
        address, _ = _made_by_ctypes()
        function = ffi.cast(_CALLBACK, address)
        lib.SSL_CTX_set_verify(context._context, SSL.VERIFY_NONE, function)  # noqa: SLF001


@cache
def _made_by_ctypes() -> tuple[int, object]:
    """A function for OpenSSL: its address, and the object that must live as long."""
    import ctypes  # noqa: PLC0415 (rarely needed)

    signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    made = signature(_on_certificate)
    return ctypes.cast(made, ctypes.c_void_p).value or 0, made


def _on_certificate(is_good: int, address: int) -> int:
    """What pyOpenSSL does before and after it calls `_note_error` (`SSL._VerifyHelper`)."""
    store = ffi.cast("X509_STORE_CTX *", address)
    session = lib.X509_STORE_CTX_get_ex_data(store, lib.SSL_get_ex_data_X509_STORE_CTX_idx())
    connection = SSL.Connection._reverse_mapping[session]  # noqa: SLF001 (see `_call_back`)
    code, depth = lib.X509_STORE_CTX_get_error(store), lib.X509_STORE_CTX_get_error_depth(store)
    _note_error(connection, None, code, depth, is_good)
    lib.X509_STORE_CTX_set_error(store, lib.X509_V_OK)
    return 1


def _load_file(context: SSL.Context, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    try:
        context.load_verify_locations(path)
    except SSL.Error as error:
        raise UserError(f"{path}: no CA certificates: {_reason(error)}") from None


def _load_default(context: SSL.Context, file: str, folder: str) -> None:
    """OpenSSL needs neither of them (SSL_CTX_set_default_verify_paths(3))."""
    with suppress(SSL.Error):
        context.load_verify_locations(file)
    context.load_verify_locations(None, folder)


def _system_ca() -> tuple[str, str]:
    """What `ssl` knows of the system's OpenSSL; pyOpenSSL brings its own library.

    Postfix ignores the environment variables for them.
    """
    paths = ssl.get_default_verify_paths()
    return paths.openssl_cafile, paths.openssl_capath


def _raise(error: SSL.Error) -> NoReturn:
    if isinstance(error, SSL.SysCallError | SSL.ZeroReturnError):
        raise ConversationError(FailureKind.CLOSED, LOST) from None
    raise ConversationError(FailureKind.TLS, _reason(error)) from None


def _reason(error: SSL.Error) -> str:
    """OpenSSL's words: the third part of the first error in its queue, which caused the others."""
    queue = error.args[0] if error.args else ()
    return printable(queue[0][2]) if queue and queue[0][2] else "unknown error"


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _x509(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)

"""Policy Hosts as administrators configure them: what each server does, and why it may be refused.

Each site is one row of the first table of `docs/policy-hosts.md`.
"""

from dataclasses import dataclass
from typing import Final

UPSTREAM: Final = "127.0.3.250:8080"
"""An HTTP/1.0 server without TLS, which `web_servers` runs behind the others."""

_LONG: Final = "default-src 'self'; " * 350
_CHAIN: Final = (
    "RFC 8461 §3.3: the certificate MUST be valid for the host, chain to a root CA, not be expired"
)
_STATUS: Final = 'RFC 8461 §3.3: "HTTP 3xx redirects MUST NOT be followed"'
_TYPE: Final = 'RFC 8461 §3.2: "SHOULD validate that the media type is" text/plain'
_GRAMMAR: Final = "RFC 8461 §3.2: the grammar begins with `version`, and lines end with LF or CRLF"
_UNCLEAN: Final = (
    'RFC 9112 §9.8: "complete only if a valid closure alert has been received" (no length)'
)
_STATIC_RSA: Final = (
    'RFC 9325 §4.1: "SHOULD NOT negotiate cipher suites based on RSA key transport"'
)


@dataclass(frozen=True, slots=True)
class Site:
    """One configuration of a server."""

    server: str
    does: str
    lines: str = ""
    """The configuration of the site beside address, name, certificate and folder."""
    certificate: str = "ECDSA"
    """A key of `certificates` in `web_servers`."""
    files: str = "crlf"
    """The folder with the policy file; a key of `FILES` in `web_servers`."""
    forbidden_by: str = ""
    """The sentence because of which it is refused."""


NGINX: Final = [
    Site("nginx", "a file, as installed"),
    Site("nginx", "LF line ends, and none after the last line", files="lf"),
    Site("nginx", "TLS 1.2 only, RSA", "ssl_protocols TLSv1.2;", "RSA"),
    Site("nginx", "ECDSA, P-384", certificate="P-384"),
    Site("nginx", "OCSP stapling", "ssl_stapling on; ssl_stapling_file /mnt/ocsp.der;"),
    Site("nginx", "HTTP/2 offered as well", "http2 on;"),
    Site(
        "nginx",
        "a header line of 10 KB",
        f'set $x "{_LONG[:2000]}"; add_header Content-Security-Policy "$x$x$x$x$x";',
    ),
    Site("nginx", "Content-Type twice", 'add_header Content-Type "text/plain; charset=utf-8";'),
    Site("nginx", "`charset`", "charset utf-8;"),
    Site("nginx", "`return 200`", "default_type text/plain; return 200 $policy;"),
    Site("nginx", "gzip for clients that want it", "gzip on; gzip_types *; gzip_min_length 1;"),
    Site("nginx", "gzip for every client", "gzip_static always;", files="gz"),
    Site("nginx", "server-side includes: chunked", "ssi on; ssi_types text/plain;"),
    Site("nginx", "HTTP/1.0 server behind it", f"location / {{ proxy_pass http://{UPSTREAM}; }}"),
    Site("nginx", "no keep-alive", "keepalive_timeout 0;"),
    Site(
        "nginx",
        "another type by default",
        "types { } default_type application/octet-stream;",
        forbidden_by=_TYPE,
    ),
    Site("nginx", "redirect", "return 301 https://www.test$request_uri;", forbidden_by=_STATUS),
    Site(
        "nginx",
        "TLS 1.2 with RSA key exchange only",
        "ssl_protocols TLSv1.2; ssl_ciphers AES256-GCM-SHA384;",
        "RSA",
        forbidden_by=_STATIC_RSA,
    ),
    Site("nginx", "intermediate certificate missing", "", "missing", forbidden_by=_CHAIN),
    Site("nginx", "certificate expired", "", "expired", forbidden_by=_CHAIN),
    Site("nginx", "certificate for another name", "", "other", forbidden_by=_CHAIN),
    Site("nginx", "byte order mark", files="bom", forbidden_by=_GRAMMAR),
    Site("nginx", "CR line ends", files="cr", forbidden_by=_GRAMMAR),
]

_CGI: Final = "ScriptAlias /.well-known/mta-sts.txt /mnt/policy.sh"
"""A script that pauses: so Apache does not know the length when it sends the head."""

APACHE: Final = [
    Site("Apache", "a file, as installed"),
    Site("Apache", "TLS 1.2 only, RSA", "SSLProtocol TLSv1.2", "RSA"),
    Site("Apache", "HTTP/2 offered as well", "Protocols h2 http/1.1"),
    Site("Apache", "`AddDefaultCharset`", "AddDefaultCharset UTF-8"),
    Site("Apache", "a header line of 7 KB", f'Header set X-Policy "{_LONG}"'),
    Site("Apache", "gzip for clients that want it", "SetOutputFilter DEFLATE"),
    Site(
        "Apache", "compressed file: `AddEncoding gzip .txt`", "AddEncoding gzip .txt", files="gzip"
    ),
    Site("Apache", "CGI: chunked", _CGI),
    Site(
        "Apache",
        "HTTP/1.0 with a length, no keep-alive",
        "SetEnv nokeepalive 1\nSetEnv downgrade-1.0 1\nSetEnv force-response-1.0 1",
    ),
    Site(
        "Apache",
        "CGI, HTTP/1.0 without a length",
        f"SetEnv downgrade-1.0 1\nSetEnv force-response-1.0 1\n{_CGI}",
    ),
    Site("Apache", "HTTP/1.0 server behind it", f"ProxyPass / http://{UPSTREAM}/"),
    Site("Apache", "no close_notify", 'SetEnvIf User-Agent "." nokeepalive ssl-unclean-shutdown'),
    Site(
        "Apache",
        "CGI, HTTP/1.0 without a length and close_notify",
        'SetEnvIf User-Agent "." ssl-unclean-shutdown nokeepalive downgrade-1.0 '
        f"force-response-1.0\n{_CGI}",
        forbidden_by=_UNCLEAN,
    ),
    Site("Apache", "`ForceType text/html`", "ForceType text/html", forbidden_by=_TYPE),
    Site("Apache", "redirect", "Redirect 301 / https://www.test/", forbidden_by=_STATUS),
    Site("Apache", "intermediate certificate missing", "", "missing", forbidden_by=_CHAIN),
]

CADDY: Final = [
    Site("Caddy", "`file_server`", "file_server"),
    Site("Caddy", "`respond`", "respond `{$POLICY}`"),
    Site("Caddy", "gzip for clients that want it", "encode gzip zstd\nfile_server"),
    Site("Caddy", "no charset", "header Content-Type text/plain\nfile_server"),
    Site("Caddy", "a header line of 7 KB", f'header X-Policy "{_LONG}"\nfile_server'),
    Site("Caddy", "HTTP/1.0 server behind it", f"reverse_proxy {UPSTREAM}"),
    Site("Caddy", "RSA", "file_server", "RSA"),
    Site("Caddy", "redirect", "redir https://www.test{uri} 301", forbidden_by=_STATUS),
    Site(
        "Caddy",
        "intermediate certificate missing",
        "file_server",
        "missing",
        forbidden_by=_CHAIN,
    ),
]

OPENSSL: Final = [
    Site("`openssl s_server -WWW`", "HTTP/1.0 without a length"),
    Site("`openssl s_server -WWW`", "TLS 1.2 only", "-tls1_2"),
]

SITES: Final = [*NGINX, *APACHE, *CADDY, *OPENSSL]

"""nginx, Apache, Caddy and `openssl s_server` of Debian, each with all its sites.

They run in a tree of their own, with their files in a folder that is mounted over the tree's /mnt.
Each site has an address, so that its TLS settings are its own.
"""

import contextlib
import gzip
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp

from tests.e2e.namespace import Namespace
from tests.e2e.sites import APACHE, CADDY, NGINX, OPENSSL, SITES, UPSTREAM, Site
from tests.e2e.transcript import TIMEOUT, Transcript
from tests.support.policy_host import policy_text
from tests.support.tls import EXPIRED, VALID, Authority, Credential

PACKAGES: Final = ("nginx", "apache2", "caddy", "openssl", "media-types")
_POLICY: Final = policy_text()
_LF: Final = _POLICY.replace(b"\r\n", b"\n")
FILES: Final = {
    "crlf": _POLICY,
    "lf": _LF.rstrip(b"\n"),
    "cr": _POLICY.replace(b"\r\n", b"\r"),
    "bom": b"\xef\xbb\xbf" + _POLICY,
    "gzip": gzip.compress(_POLICY),
}
"""Folder → the policy file in it; the folder `gz` has one for `gzip_static`."""

_NGINX: Final = """\
daemon off;
worker_processes 1;
error_log stderr;
pid /mnt/nginx.pid;
events {{ }}
http {{
  include /etc/nginx/mime.types;
  access_log off;
  client_body_temp_path /mnt/body;
  proxy_temp_path /mnt/proxy;
  fastcgi_temp_path /mnt/fastcgi;
  uwsgi_temp_path /mnt/uwsgi;
  scgi_temp_path /mnt/scgi;
  server_names_hash_bucket_size 128;
{servers}
}}
"""
_NGINX_SITE: Final = """\
  server {{
    listen {address}:443 ssl;
    server_name {host};
    ssl_certificate /mnt/{domain}.crt;
    ssl_certificate_key /mnt/{domain}.key;
    root /mnt/{files};
    set $policy "{policy}";
    {lines}
  }}
"""
_APACHE: Final = """\
ServerRoot /etc/apache2
ServerName apache.test
DefaultRuntimeDir /mnt
PidFile /mnt/apache2.pid
Mutex file:/mnt default
ScriptSock /mnt/cgi.sock
ErrorLog /mnt/apache2.log
User www-data
Group www-data
{modules}
TypesConfig /etc/mime.types
ProtocolsHonorOrder On
Protocols http/1.1
LimitRequestFieldSize 65536
<Directory /mnt>
  Require all granted
</Directory>
{servers}
"""
_MODULES: Final = (
    "mpm_event authz_core mime dir ssl headers http2 deflate filter env setenvif alias "
    "socache_shmcb proxy proxy_http cgid"
)
_SCRIPT: Final = """\
#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
cat /mnt/lf/.well-known/mta-sts.txt
sleep 0.2
echo
"""
_APACHE_SITE: Final = """\
Listen {address}:443 https
<VirtualHost {address}:443>
ServerName {host}
DocumentRoot /mnt/{files}
SSLEngine on
SSLCertificateFile /mnt/{domain}.crt
SSLCertificateKeyFile /mnt/{domain}.key
{lines}
</VirtualHost>
"""
_CADDY: Final = """\
{{
  admin off
  auto_https off
  storage file_system /mnt/caddy
}}
{servers}
"""
_CADDY_SITE: Final = """\
https://{host} {{
  bind {address}
  tls /mnt/{domain}.crt /mnt/{domain}.key
  root * /mnt/{files}
  {lines}
}}
"""


def domain(site: Site) -> str:
    """The Policy Domain of a site."""
    return f"site{SITES.index(site) + 1}.test"


def address(site: Site) -> str:
    """The address of a site's Policy Host."""
    return f"127.0.3.{SITES.index(site) + 1}"


@contextlib.contextmanager
def web_servers(inside: Namespace, place: Path, folder: Path, logs: Path) -> Iterator[Path]:
    """Run all servers from the tree `place`; yield the CA file of their certificates."""
    folder.mkdir()
    folder.chmod(0o755)
    for name, text in FILES.items():
        _write(folder / name / ".well-known/mta-sts.txt", text)
    _write(folder / "gz/.well-known/mta-sts.txt.gz", gzip.compress(_POLICY))
    root = Authority("Test Root")
    _write_certificates(folder, root)
    commands = {
        "nginx": _nginx(folder),
        "apache2": _apache(folder, place),
        "caddy": _caddy(folder),
        **{f"openssl-{domain(site)}": _openssl(site) for site in OPENSSL},
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running(_upstream(inside, folder), logs / "upstream.log"))
        for name, command in commands.items():
            script = 'mount --bind "$1" "$0/mnt" && exec chroot "$0" sh -c "$2"'
            words = inside.command("sh", "-c", script, place, folder, command)
            stack.enter_context(_running(words, logs / f"{name}.log"))
        for site in (NGINX[-1], APACHE[-1], CADDY[-1], *OPENSSL):
            _await(inside, address(site))
        yield root.write(folder)


def _nginx(folder: Path) -> str:
    servers = _servers(NGINX, _NGINX_SITE)
    (folder / "nginx.conf").write_text(_NGINX.format(servers=servers))
    return "exec nginx -c /mnt/nginx.conf"


def _apache(folder: Path, place: Path) -> str:
    # Some modules are part of the program, depending on the version.
    known = place / "usr/lib/apache2/modules"
    modules = [name for name in _MODULES.split() if (known / f"mod_{name}.so").exists()]
    lines = "\n".join(f"LoadModule {name}_module {_module(name)}" for name in modules)
    text = _APACHE.format(modules=lines, servers=_servers(APACHE, _APACHE_SITE))
    (folder / "apache.conf").write_text(text)
    (folder / "policy.sh").write_text(_SCRIPT)
    (folder / "policy.sh").chmod(0o755)
    return "exec apache2 -D FOREGROUND -f /mnt/apache.conf"


def _module(name: str) -> str:
    return f"/usr/lib/apache2/modules/mod_{name}.so"


def _caddy(folder: Path) -> str:
    (folder / "Caddyfile").write_text(_CADDY.format(servers=_servers(CADDY, _CADDY_SITE)))
    policy = f"POLICY='{_LF.decode()}'"
    return f"{policy} HOME=/mnt exec caddy run --config /mnt/Caddyfile --adapter caddyfile"


def _openssl(site: Site) -> str:
    name = f"/mnt/{domain(site)}"
    certificate = f"-cert {name}.crt -cert_chain {name}.crt -key {name}.key"
    options = f"-accept {address(site)}:443 {certificate} {site.lines} -quiet"
    return f"cd /mnt/{site.files} && exec openssl s_server -WWW {options}"


def _upstream(inside: Namespace, folder: Path) -> list[str]:
    host, port = UPSTREAM.split(":")
    server = ("-m", "http.server", "--bind", host, "--directory", folder / "crlf", port)
    return inside.command(sys.executable, *server)


def _servers(sites: Sequence[Site], template: str) -> str:
    return "\n".join(
        template.format(
            address=address(site),
            domain=domain(site),
            host=f"mta-sts.{domain(site)}",
            files=site.files,
            lines=site.lines,
            policy=_LF.decode(),
        )
        for site in sites
    )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_certificates(folder: Path, root: Authority) -> None:
    between = Authority("Test Intermediate", root)
    for site in SITES:
        issued = _issue(between, site)
        rest = b"" if site.certificate == "missing" else between.certificate
        Credential(issued.certificate + rest, issued.key).write(folder, domain(site))
    _write(folder / "ocsp.der", _ocsp_response(NGINX[0], folder))


def _issue(authority: Authority, site: Site) -> Credential:
    host = f"mta-sts.{domain(site)}"
    match site.certificate:
        case "RSA":
            return authority.issue(host, key=rsa.generate_private_key(65_537, 2048))
        case "P-384":
            return authority.issue(host, key=ec.generate_private_key(ec.SECP384R1()))
        case "expired":
            return authority.issue(host, valid=EXPIRED)
        case "other":
            return authority.issue("www.test")
        case _:
            return authority.issue(host)


def _ocsp_response(site: Site, folder: Path) -> bytes:
    """A response that is only sent to clients that ask for one (RFC 8446 §4.4.2.1)."""
    leaf, issuer = x509.load_pem_x509_certificates((folder / f"{domain(site)}.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / f"{domain(site)}.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    return (
        ocsp.OCSPResponseBuilder()
        .add_response(
            leaf,
            issuer,
            hashes.SHA256(),
            ocsp.OCSPCertStatus.GOOD,
            now,
            now + timedelta(days=VALID[1]),
            None,
            None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, leaf)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[None]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = Transcript(process.stdout, log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(TIMEOUT)
            said.end()


def _await(inside: Namespace, host: str) -> None:
    """Wait until something listens at port 443."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            inside.connect(host, 443).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return

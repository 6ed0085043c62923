"""Texts of resolv.conf and what they mean: for the parser, and for glibc in the e2e tests."""

from typing import Final

from postfix_mta_sts.network.resolv_conf import ResolvConf

MEANINGS: Final[dict[str, ResolvConf]] = {
    "": ResolvConf(),
    "# none\n; none\n": ResolvConf(),
    "nameserver 192.0.2.1\n": ResolvConf(("192.0.2.1",)),
    "nameserver 192.0.2.1": ResolvConf(("192.0.2.1",)),
    "nameserver\t192.0.2.1\nnameserver \t ::1 \n": ResolvConf(("192.0.2.1", "::1")),
    "nameserver 192.0.2.1 # the first\n": ResolvConf(("192.0.2.1",)),
    "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)): ResolvConf(
        ("192.0.2.1", "192.0.2.2", "192.0.2.3")
    ),
    "nameserver ::1\nnameserver ::1\n": ResolvConf(("::1", "::1")),
    "nameserver 127.1\nnameserver 0x7f.0.0.2\n": ResolvConf(("127.0.0.1", "127.0.0.2")),
    "nameserver 2001:DB8:0::1\n": ResolvConf(("2001:db8::1",)),
    "nameserver ::1%lo\n": ResolvConf(("::1",)),
    "nameserver fe80::1%lo\n": ResolvConf(("fe80::1%lo",)),
    "nameserver fe80::1\n": ResolvConf(("fe80::1",)),
    " nameserver 192.0.2.1\n": ResolvConf(),
    "nameserver 192.0.2.1\r\n": ResolvConf(),
    "nameserver 192.0.2.1:53\nnameserver [::1]\nnameserver localhost\n": ResolvConf(),
    "nameserver 192.0.2.256\nnameserver\nnameserver 192.0.2.1,192.0.2.2\n": ResolvConf(),
    "nameservers 192.0.2.1\nNameserver 192.0.2.1\nnameserver=192.0.2.1\n": ResolvConf(),
    "options use-vc\n": ResolvConf(use_tcp=True),
    "options\tedns0  use-vc \t rotate\n": ResolvConf(use_tcp=True, rotate=True),
    "options rotate\noptions use-vc\n": ResolvConf(use_tcp=True, rotate=True),
    "options use-vcs\n": ResolvConf(use_tcp=True),
    "options USE-VC\n options rotate\n": ResolvConf(),
    "options no-use-vc\n": ResolvConf(),
    "options timeout:2 attempts:3\n": ResolvConf(timeout=2, attempts=3),
    "options timeout:2\noptions timeout:3\n": ResolvConf(timeout=3),
    "options timeout:31 attempts:6\n": ResolvConf(timeout=30, attempts=5),
    "options timeout: 4\n": ResolvConf(timeout=4),
    "options timeout 4\n": ResolvConf(),
    "options timeout:2s\n": ResolvConf(timeout=2),
    "domain example.test\nsearch a.test b.test\nsortlist 192.0.2.0/24\n": ResolvConf(),
    "options ndots:15 single-request single-request-reopen no-tld-query no-reload\n": ResolvConf(),
    "lookup file bind\nfamily inet6\n\n\n": ResolvConf(),
    "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n": ResolvConf(("127.0.0.53",)),
    "search x.test\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n": ResolvConf(
        ("127.0.0.11",)
    ),
    "nameserver 192.0.2.1\noptions use-vc": ResolvConf(("192.0.2.1",), use_tcp=True),
    "nameserver 192.0.2.1\nname\udcffserver 192.0.2.2\n": ResolvConf(("192.0.2.1",)),
}
"""Text → what the parser finds; a lone surrogate stands for an octet that is not UTF-8."""

ODD: Final[dict[str, ResolvConf]] = {
    "options timeout:0 attempts:0\n": ResolvConf(timeout=1, attempts=1),
    "options timeout:-1 attempts:-1\n": ResolvConf(timeout=1, attempts=1),
    "options timeout:x attempts:\n": ResolvConf(timeout=1, attempts=1),
}
"""Where glibc keeps the number, and does as if it were 1, or queries nobody at all."""

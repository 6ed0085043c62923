"""What postconf(1) prints on Debian 12 and 13, if Postfix is set up as README says."""

from collections.abc import Mapping
from typing import Final

BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
SERVER: Final = "socketmap:inet:127.0.0.1:8461:"
"""The table of the daemon, without the map name."""
TYPES: Final = (
    *("btree", "cidr", "environ", "fail", "hash", "inline", "internal", "memcache", "nis"),
    *("pipemap", "proxy", "randmap", "regexp", "socketmap", "static", "tcp", "texthash"),
    *("unionmap", "unix"),
)
"""Of `postconf -m`."""
PARAMETERS: Final[Mapping[str, str]] = {
    "compatibility_level": "3.6",
    "config_directory": "/etc/postfix",
    "content_filter": "",
    "data_directory": "/var/lib/postfix",
    "default_database_type": "hash",
    "default_transport": "smtp",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "mail_owner": "postfix",
    "maillog_file": "",
    "multi_instance_directories": "",
    "multi_instance_enable": "no",
    "multi_instance_name": "",
    "multi_instance_wrapper": "",
    "myhostname": "relay.x.test",
    "proxy_interfaces": "",
    "queue_directory": "/var/spool/postfix",
    "relayhost": "",
    "sender_dependent_default_transport_maps": "",
    "sender_dependent_relayhost_maps": "",
    "smtp_address_preference": "any",
    "smtp_balance_inet_protocols": "yes",
    "smtp_dns_support_level": "",
    "smtp_enforce_tls": "no",
    "smtp_helo_name": "relay.x.test",
    "smtp_mx_address_limit": "5",
    "smtp_tls_CAfile": BUNDLE,
    "smtp_tls_CApath": "",
    "smtp_tls_connection_reuse": "no",
    "smtp_tls_dane_insecure_mx_policy": "dane",
    "smtp_tls_enforce_peername": "yes",
    "smtp_tls_loglevel": "1",
    "smtp_tls_secure_cert_match": "nexthop, dot-nexthop",
    "smtp_tls_security_level": "may",
    "smtp_tls_servername": "",
    "smtp_tls_session_cache_database": "",
    "smtp_tls_session_cache_timeout": "3600s",
    "smtp_use_tls": "no",
    "tls_append_default_CA": "no",
    "transport_maps": "",
}
BOOKWORM: Final[Mapping[str, str]] = {
    "mail_version": "3.7.11",
    "smtp_tls_CApath": "/etc/ssl/certs",
    "smtp_tls_session_cache_database": "btree:/var/lib/postfix/smtp_scache",
    "smtp_tls_policy_maps": f"{SERVER}postfix",
}
TRIXIE: Final[Mapping[str, str]] = {
    "mail_version": "3.10.13",
    "compatibility_level": "3.9",
    "smtp_tls_enforce_sts_mx_patterns": "yes",
    "smtp_tlsrpt_enable": "no",
    "smtp_tlsrpt_socket_name": "",
    "smtp_tls_policy_maps": f"{SERVER}QUERYwithTLSRPT",
}

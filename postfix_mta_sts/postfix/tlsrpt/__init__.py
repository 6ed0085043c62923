"""Tells tlsrpt-collectd, the collector of TLS reports (RFC 8460), what Postfix cannot report."""

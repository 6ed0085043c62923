"""The Internet: DNS, DNSSEC, HTTPS, and the child process that asks."""

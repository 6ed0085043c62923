"""Access to the Internet: DNS, DNSSEC, HTTPS, and the child process that runs them."""

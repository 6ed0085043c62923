"""Say what happens to mail for a domain, because of what, and what to do; for `query`."""

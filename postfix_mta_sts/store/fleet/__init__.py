"""The shared store: what the relays of a fleet know together, on Valkey, Redis or PostgreSQL.

`engine` is what a database must do, `redis.engine` and `postgresql.engine` do it. `client` puts it
together with the signature (`envelope`), the time limits and the breaker. All of it runs in the
network process (`network.shared_store`); the daemon sends `requests` and gets answers whose texts
are parsed.
Nothing here decides what a row is worth: `mtasts.sharing` does.
"""

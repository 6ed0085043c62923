"""Whether Postfix and the daemon of this machine are set up right: collected, then judged.

`collect` looks at everything once and writes nothing; `judge` makes a report of the snapshot, by
the rules in `rules`, which are pure functions.
"""

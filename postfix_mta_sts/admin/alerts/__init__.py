"""Tell administrators that the protection of a domain became weaker.

`alerts` gets each weakening; `command` runs `alerts.command` for it, within `limits`, as a
`process`.
"""

"""Say what happens to mail for a domain, because of what, and what to do; for `query`.

`collect` fills in the `Evidence`; `daemon_answer`, `postfix_here`, `policy_now`, `dane_evidence`,
`reports` and `mistakes` each look up a part of it. All that follows is pure: `in_force` decides
which entry Postfix follows, `conclude` draws the verdict (`held` and `causes` say why mail waits),
`build` makes the `Diagnosis`, and `text`, `smtp_text` and `letter` write that for people.
"""

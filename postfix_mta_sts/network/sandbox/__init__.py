"""The sandbox of the network process: what it may still do once it talks to the Internet.

`child` calls `confine` before the first thread starts. `paths` finds the files of this machine,
`rules` decides which are allowed, `refusals` which system calls are not; `landlock` and `seccomp`
put that in force, and `kernel` makes the system calls for it.
"""

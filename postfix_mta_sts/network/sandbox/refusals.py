"""Which system calls the network process is refused, and with which arguments.

All others are allowed: what a library calls tomorrow must not end look-ups. `seccomp` makes a
filter of this. A filter sees numbers only and no memory: so it knows no path, and cannot tell one
address of the network from another.
"""

import errno
import fcntl
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, RAW = 1, 2, 3
TCP, UDP = 6, 17
SOCKET_TYPE: Final = 0xF
"""The bits of socket(2)'s type that are not flags."""
WRITES: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
"""The flags of open(2) that change files."""
CLONE_THREAD: Final = 0x10000
MSG_FASTOPEN: Final = 0x20000000
"""Connects while it sends: older kernels do not ask Landlock then."""
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
"""Type into the terminal from which the daemon was started."""
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15
FIOSETOWN, SIOCSPGRP = 0x8901, 0x8902
"""Let the kernel signal another process, when something arrives at a descriptor (fcntl(2))."""
LOCKS: Final = (fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW)
"""Keep others from a file, such as the daemon from its store (fcntl(2), record locks)."""
F_SETLEASE: Final = 1024
"""Lets programs that write a file wait, usually for 45 seconds (fcntl(2), leases)."""
FIOASYNC: Final = 0x5452
"""As O_ASYNC does: of a terminal, it signals the processes in the foreground."""
KIND: Final = 0xFF00
"""The bits of an ioctl(2)'s number that say what it is for (<asm-generic/ioctl.h>)."""
FILE_SYSTEMS: Final = (0x5800, 0x6600, 0x7600, 0x9400)
"""The kinds of ioctl(2) for files and file systems: X, f, v and 0x94 (<linux/fs.h>).

They change flags of files (FS_IOC_SETFLAGS) that are open for reading; for root they stop all
writing (FIFREEZE). The network process needs none of them, not even those that only tell.
"""


@dataclass(frozen=True, slots=True)
class Argument:
    """A condition: an argument, without the bits outside of `mask`, is one of `values`.

    Only the lower 32 bits count: all of these arguments are ints of the kernel.
    """

    index: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Refusal:
    """A system call that fails with `error`, unless all conditions of one of `unless` hold.

    `only_if` turns that round: it fails only then.
    """

    call: str
    unless: tuple[tuple[Argument, ...], ...] = ()
    only_if: bool = False
    error: int = errno.EPERM


FILES: Final = (
    *("creat", "truncate", "rename", "renameat", "renameat2", "link", "linkat", "symlink"),
    *("symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr"),
    *("fremovexattr", "removexattrat", "utime", "utimes", "utimensat", "futimesat"),
    *("file_setattr", "open_by_handle_at", "flock"),
)
"""Landlock forbids no change of mode, owner or time, and no lock; and not all of the rest before
Linux 6.2."""
PROCESSES: Final = (
    *("fork", "vfork", "execve", "execveat", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"),
    *("pidfd_open", "pidfd_send_signal", "pidfd_getfd", "ptrace", "process_vm_readv"),
    *("process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "setpriority"),
    *("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"),
    *("ioprio_set", "migrate_pages", "move_pages"),
)
"""The daemon has the same user, so that it could be signalled, read and slowed down."""
SOCKETS: Final = ("listen", "accept", "accept4")
SHARED_MEMORY: Final = (
    *("shmget", "shmat", "shmctl", "semget", "semctl", "semop", "semtimedop"),
    *("msgget", "msgctl", "msgsnd", "msgrcv", "mq_open", "mq_unlink"),
)
"""Those of System V need no …get: their numbers are small, and the same for all programs."""
KERNEL: Final = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open"),
    *("userfaultfd", "fanotify_init", "keyctl", "add_key", "request_key", "unshare", "setns"),
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "init_module"),
    *("finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon"),
    *("swapoff", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname"),
    *("setdomainname", "acct", "quotactl", "quotactl_fd", "syslog", "vhangup"),
    *("ioperm", "iopl", "capset"),
)
"""io_uring makes calls that no filter sees; the rest is for a daemon that runs as root."""
_CONTROLS: Final = (
    (Argument(1, (F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, *LOCKS)),),
    (Argument(1, (fcntl.F_SETFL,)), Argument(2, (os.O_ASYNC,), os.O_ASYNC)),
)
_DEVICES: Final = (
    (Argument(1, (TIOCSTI, TIOCLINUX, FIOASYNC, FIOSETOWN, SIOCSPGRP)),),
    (Argument(1, FILE_SYSTEMS, KIND),),
)


def refusals(pid: int, *, unix_sockets: bool) -> Collection[Refusal]:
    """What the process `pid` is refused; `unix_sockets`: whether it may open them."""
    own = (Argument(0, (pid,)),)
    return (
        # First what is called most, and whose arguments are looked at.
        Refusal("sendto", ((Argument(3, (0,), MSG_FASTOPEN),),)),
        Refusal("sendmsg", ((Argument(2, (0,), MSG_FASTOPEN),),)),
        Refusal("sendmmsg", ((Argument(3, (0,), MSG_FASTOPEN),),)),
        *(Refusal(call) for call in (*FILES, *PROCESSES, *SOCKETS, *SHARED_MEMORY, *KERNEL)),
        Refusal("open", ((Argument(1, (0,), WRITES),),)),
        Refusal("openat", ((Argument(2, (0,), WRITES),),)),
        # Their flags are in memory: the C library does without both if they do not exist.
        Refusal("openat2", error=errno.ENOSYS),
        Refusal("clone3", error=errno.ENOSYS),
        Refusal("clone", ((Argument(0, (CLONE_THREAD,), CLONE_THREAD),),)),
        Refusal("kill", (own,)),
        Refusal("tgkill", (own,)),
        Refusal("prlimit64", ((Argument(0, (0, pid)),),)),
        Refusal("socket", _sockets(unix_sockets=unix_sockets)),
        Refusal("socketpair", ((Argument(0, (UNIX,)), Argument(1, (STREAM,), SOCKET_TYPE)),)),
        Refusal("fcntl", _CONTROLS, only_if=True),
        Refusal("ioctl", _DEVICES, only_if=True),
    )


def _sockets(*, unix_sockets: bool) -> tuple[tuple[Argument, ...], ...]:
    """The sockets that may be made; a protocol of 0 is TCP or UDP, and of netlink routes."""
    internet = (
        Argument(0, (INET, INET6)),
        Argument(1, (STREAM, DATAGRAM), SOCKET_TYPE),
        Argument(2, (0, TCP, UDP)),
    )
    netlink = (
        Argument(0, (NETLINK,)),
        Argument(1, (DATAGRAM, RAW), SOCKET_TYPE),
        Argument(2, (0,)),
    )
    unix = (Argument(0, (UNIX,)), Argument(1, (STREAM,), SOCKET_TYPE))
    return (internet, netlink, unix) if unix_sockets else (internet, netlink)

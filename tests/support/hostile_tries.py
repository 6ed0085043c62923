"""What a network process that was taken over tries (`hostile`), and what it may do as ever."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from postfix_mta_sts.network.sandbox import kernel
from postfix_mta_sts.network.sandbox.calls import this_machine
from postfix_mta_sts.network.sandbox.refusals import (
    F_SETLEASE,
    F_SETOWN_EX,
    F_SETSIG,
    FIOASYNC,
    FIOSETOWN,
    SIOCSPGRP,
)

SIOCGIFMTU, SIOCSIFMTU = 0x8921, 0x8922
"""<linux/sockios.h>"""
RTM_NEWADDR, IFA_LOCAL = 20, 2
ADD_AND_TELL = 0x605
"""<linux/netlink.h>: NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL and NLM_F_CREATE."""
FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR = 0x40086602, 0x401C5820
FS_NODUMP_FL, FS_EXTENT_FL = 0x40, 0x80000
"""<linux/fs.h>; ext4 would change the layout of a file without the latter."""

Try: TypeAlias = Callable[[], object]


def tries(targets: Mapping[str, str]) -> dict[str, Try]:
    """Name → try; `targets` as in `hostile.TARGETS`."""
    files = (_reads, _writes, _attributes, _locks)
    kinds = (*files, _sockets, _network, _processes, _signals, _memory, _allowed)
    return {name: attempt for kind in kinds for name, attempt in kind(targets).items()}


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(1)


def _reads(targets: Mapping[str, str]) -> dict[str, Try]:
    parent = targets["parent"]
    paths = {
        "read store": targets["store"],
        "read key": targets["key"],
        "read passwd": "/etc/passwd",
        "read own environment": "/proc/self/environ",
        "read environment of daemon": f"/proc/{parent}/environ",
        "read memory of daemon": f"/proc/{parent}/mem",
    }
    folders = {"list folder": targets["folder"], "list etc": "/etc", "list root": "/"}
    return {
        **{name: partial(_read, path) for name, path in paths.items()},
        **{name: partial(os.listdir, path) for name, path in folders.items()},
    }


def _write(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


def _writes(targets: Mapping[str, str]) -> dict[str, Try]:
    store, own, folder = targets["store"], targets["own"], targets["folder"]
    new = f"{folder}/new"
    return {
        "write store": lambda: _write(store, os.O_WRONLY),
        "write own code": lambda: _write(__file__, os.O_RDWR),
        "write CA file": lambda: _write(targets["ca_file"], os.O_WRONLY),
        "empty by opening": lambda: _write(own, os.O_RDONLY | os.O_TRUNC),
        "make file": lambda: _write(new, os.O_WRONLY | os.O_CREAT),
        "make nameless file": lambda: _write(folder, os.O_RDWR | os.O_TMPFILE),
        "truncate": lambda: os.truncate(own, 0),
        "rename": lambda: os.rename(own, new),  # noqa: PTH104
        "remove": lambda: os.unlink(own),  # noqa: PTH108
        "make folder": lambda: os.mkdir(new),  # noqa: PTH102
        "make link": lambda: os.symlink("x", new),  # noqa: PTH211
        "make hard link": lambda: os.link(own, new),
        "make FIFO": lambda: os.mkfifo(new),
        "change mode": lambda: os.chmod(own, 0o640),  # noqa: PTH101
        "change owner": lambda: os.chown(own, os.getuid(), os.getgid()),
        "change times": lambda: os.utime(own, (1, 1)),
        "change attributes": lambda: os.setxattr(own, "user.x", b"1"),
    }


def _on_file(path: str, call: Callable[..., object], *args: int | bytes) -> None:
    with open(path, "rb") as file:  # noqa: PTH123
        call(file, *args)


def _attributes(targets: Mapping[str, str]) -> dict[str, Try]:
    """Of a file that it may read, and that the test has made."""
    control = partial(_on_file, targets["ca_file"], fcntl.ioctl)
    nodump = struct.pack("l", FS_NODUMP_FL | FS_EXTENT_FL)
    return {
        "change flags": partial(control, FS_IOC_SETFLAGS, nodump),
        "change flags and project": partial(control, FS_IOC_FSSETXATTR, bytes(28)),
    }


def _locks(targets: Mapping[str, str]) -> dict[str, Try]:
    """Of a file that it may read, as it may read the store where there is no Landlock."""
    file = partial(_on_file, targets["ca_file"])
    whole = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    return {
        "lock a file": partial(file, fcntl.flock, fcntl.LOCK_SH | fcntl.LOCK_NB),
        "lock parts of a file": partial(file, fcntl.fcntl, fcntl.F_SETLK, whole),
        "wait for parts of a file": partial(file, fcntl.fcntl, fcntl.F_SETLKW, whole),
        "lock parts of an open file": partial(file, fcntl.fcntl, fcntl.F_OFD_SETLK, whole),
        "wait for parts of an open file": partial(file, fcntl.fcntl, fcntl.F_OFD_SETLKW, whole),
    }


def _connect(family: int, address: str | tuple[str, int]) -> None:
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect(address)


def _listen() -> None:
    with socket.socket() as sock:
        sock.listen()


def _bind() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


def _datagram(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", port))


def _send_fast(port: int) -> None:
    with socket.socket() as sock:
        sock.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))


def _open(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def _pair(kind: int) -> None:
    for each in socket.socketpair(socket.AF_UNIX, kind):
        each.close()


def _sockets(targets: Mapping[str, str]) -> dict[str, Try]:
    unix, other = socket.AF_UNIX, int(targets["other_port"])
    return {
        "connect to control socket": lambda: _connect(unix, targets["control"]),
        "connect to abstract socket": lambda: _connect(unix, f"\0{targets['abstract']}"),
        "open datagram UNIX socket": lambda: _open(unix, socket.SOCK_DGRAM),
        "open pair of datagram sockets": lambda: _pair(socket.SOCK_DGRAM),
        "open packet socket": lambda: _open(17, socket.SOCK_RAW),
        "open raw socket": lambda: _open(socket.AF_INET, socket.SOCK_RAW, 1),
        "open MPTCP socket": lambda: _open(socket.AF_INET, socket.SOCK_STREAM, 262),
        "open SCTP socket": lambda: _open(socket.AF_INET, socket.SOCK_STREAM, 132),
        "open netlink socket of audit": lambda: _open(16, socket.SOCK_RAW, 9),
        "listen": _listen,
        "bind": _bind,
        "connect to another port": lambda: _connect(socket.AF_INET, ("127.0.0.1", other)),
        "connect to another port while sending": lambda: _send_fast(other),
        "send datagram to any port": lambda: _datagram(other),
    }


def _set_mtu() -> None:
    """Set the MTU of the loopback to what it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        mtu = fcntl.ioctl(sock, SIOCGIFMTU, struct.pack("16s24x", b"lo"))
        fcntl.ioctl(sock, SIOCSIFMTU, mtu)


def _add_address() -> None:
    """Add to the loopback the address that it has (rtnetlink(7))."""
    address = struct.pack("=BBBBI", socket.AF_INET, 8, 0, 254, 1)
    address += struct.pack("=HH4s", 8, IFA_LOCAL, socket.inet_aton("127.0.0.1"))
    header = struct.pack("=IHHII", 16 + len(address), RTM_NEWADDR, ADD_AND_TELL, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        sock.send(header + address)
        (error,) = struct.unpack_from("=i", sock.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))


def _network(_: Mapping[str, str]) -> dict[str, Try]:
    """What root may change of the network."""
    return {"set MTU": _set_mtu, "add address": _add_address}


def _call(name: str, *args: int) -> None:
    """A system call whose arguments do no harm if it is allowed."""
    machine = this_machine()
    if machine is None or name not in machine.numbers:
        raise PermissionError(errno.EPERM, "there is none")
    kernel.system_call(machine.numbers[name], *args)


def _processes(targets: Mapping[str, str]) -> dict[str, Try]:
    """None of them does harm if it is allowed."""
    parent = int(targets["parent"])
    return {
        "signal daemon": lambda: os.kill(parent, 0),
        "signal own group": lambda: os.kill(0, 0),
        "signal by a descriptor": lambda: _call("pidfd_open", parent, 0),
        "trace": lambda: _call("ptrace", 99_999, 0, 0, 0),
        "read memory": lambda: _call("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "limit daemon": lambda: _call("prlimit64", parent, 7, 0, 0),
        "slow daemon down": lambda: os.setpriority(
            os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)
        ),
        "bind daemon to a processor": lambda: os.sched_setaffinity(
            parent, os.sched_getaffinity(parent)
        ),
        "hold up writers of a file": lambda: _on_file(
            targets["ca_file"], fcntl.fcntl, F_SETLEASE, fcntl.F_RDLCK
        ),
        "fork": _fork,
        "run program": lambda: os.execv("/nonexistent", ["x"]),  # noqa: S606
        "start program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "new namespace": lambda: _call("unshare", 0),
        "io_uring": lambda: _call("io_uring_setup", 1, 0),
        "bpf": lambda: _call("bpf", 0, 0, 0),
        "key ring": lambda: _call("keyctl", 0, 0, 0, 0, 0),
        "quota by a descriptor": lambda: _call("quotactl_fd", -1, 0, 0, 0),
        "mount": lambda: _call("mount", 0, 0, 0, 0, 0),
    }


def _on_socket(call: Callable[..., object], what: int, argument: int | bytes) -> None:
    first, second = socket.socketpair()
    with first, second:
        call(first, what, argument)


def _signals(targets: Mapping[str, str]) -> dict[str, Try]:
    """By the kernel, when something arrives at a socket: nothing does, so that none is sent."""
    parent = int(targets["parent"])
    pid, owner, on = struct.pack("i", parent), struct.pack("ii", 1, parent), struct.pack("i", 1)
    control, ioctl = partial(_on_socket, fcntl.fcntl), partial(_on_socket, fcntl.ioctl)
    return {
        "let the kernel signal daemon": partial(control, fcntl.F_SETOWN, parent),
        "let the kernel signal daemon, as a structure": partial(control, F_SETOWN_EX, owner),
        "let the kernel signal daemon, by FIOSETOWN": partial(ioctl, FIOSETOWN, pid),
        "let the kernel signal daemon, by SIOCSPGRP": partial(ioctl, SIOCSPGRP, pid),
        "choose the signal": partial(control, F_SETSIG, signal.SIGURG),
        "ask for signals": partial(control, fcntl.F_SETFL, os.O_RDWR | os.O_ASYNC),
        "ask for signals, by FIOASYNC": partial(ioctl, FIOASYNC, on),
    }


def _memory(_: Mapping[str, str]) -> dict[str, Try]:
    """What programs share by a number, which can be guessed; these numbers are of nothing."""
    return {
        "shared memory": lambda: _call("shmget", 0, 0, 0),
        "map shared memory": lambda: _call("shmat", -1, 0, 0),
        "remove shared memory": lambda: _call("shmctl", -1, 0, 0),
        "semaphore": lambda: _call("semget", 0, 0, 0),
        "remove semaphore": lambda: _call("semctl", -1, 0, 0, 0),
        "change semaphore": lambda: _call("semop", -1, 0, 1),
        "change semaphore in time": lambda: _call("semtimedop", -1, 0, 1, 0),
        "queue": lambda: _call("msgget", 0, 0),
        "remove queue": lambda: _call("msgctl", -1, 0, 0),
        "send to queue": lambda: _call("msgsnd", -1, 0, 0, 0),
        "receive from queue": lambda: _call("msgrcv", -1, 0, 0, 0, 0),
        "open named queue": lambda: _call("mq_open", 0, 0, 0, 0),
        "remove named queue": lambda: _call("mq_unlink", 0),
    }


def _fork() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _callback() -> None:
    ctypes.CFUNCTYPE(ctypes.c_int)(int)()


def _allowed(targets: Mapping[str, str]) -> dict[str, Try]:
    """What the network process needs."""
    tcp = socket.AF_INET
    return {
        "read CA file": lambda: _read(targets["ca_file"]),
        "read resolv.conf": lambda: _read("/etc/resolv.conf"),
        "connect to Policy Host": lambda: _connect(tcp, ("127.0.0.1", int(targets["https_port"]))),
        "connect to mail server": lambda: _connect(tcp, ("127.0.0.1", int(targets["smtp_port"]))),
        "ask name server": lambda: _connect(tcp, ("127.0.0.1", int(targets["dns_port"]))),
        "find localhost": lambda: socket.getaddrinfo("localhost", 1),
        "open netlink socket": lambda: _open(16, socket.SOCK_RAW),
        "open pair of stream sockets": lambda: _pair(socket.SOCK_STREAM),
        "make socket non-blocking": partial(
            _on_socket, fcntl.fcntl, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK
        ),
        "start thread": _thread,
        "signal oneself": lambda: os.kill(os.getpid(), 0),
        "import OpenSSL": lambda: __import__("OpenSSL.SSL"),
        "import redis": lambda: __import__("redis.asyncio"),
        "import asyncpg": lambda: __import__("asyncpg"),
        "import idna codec": lambda: "ü".encode("idna"),
        "make callback": _callback,
        "format traceback": traceback.format_stack,
    }

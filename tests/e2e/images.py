"""Builds the Dockerfile and runs its image as Docker does, on a machine without Docker.

podman(1) takes the words of docker(1): a script of that name on $PATH passes them on. It builds
without a daemon and, isolated by chroot(2), without rights that a machine in a container may lack.
The base image is a release's tree under the name that the Dockerfile uses, and pip finds its wheels
in a folder of this machine. As podman mounts more into a container than Docker does, the container
of most tests is a mount namespace with a read-only root, a process namespace, and the user,
environment and commands of the image.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.docs.blocks import blocks
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.transcript import TIMEOUT, Transcript
from tests.e2e.trees import NoTreeError
from tests.e2e.wheels import ROOT

COMMANDS, EXEC, REPLACE, REMOVE = (
    each.text.strip() for each in blocks(ROOT / "docs/docker.md") if each.kind == "run by"
)
BUILD, RUN = COMMANDS.split("\n", 1)
"""The commands of docs/docker.md."""
BASE: Final = "debian:trixie-slim"
IMAGE: Final = "postfix-mta-sts"
_PIP: Final = "[global]\nno-index = true\nfind-links = /wheels\n"
"""pip.conf of the build: mounted like a proxy of the machine, and not part of any layer."""

_DOCKER: Final = """\
#!/bin/sh
# crun supports only the second version of control groups.
[ "$(stat --file-system --format %T /sys/fs/cgroup)" = cgroup2fs ] ||
    {{ umount --recursive /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; }} || exit
export DISABLE_HC_SYSTEMD=true  # otherwise podman has systemd run the health check
command=$1; shift
[ "$command" != build ] || set -- {build} "$@"
exec podman {options} "$command" "$@"
"""
_BUILD: Final = (
    "--isolation=chroot --network=host --pull=never --format=docker --layers=false --quiet"
)
_CONTAINERS_CONF: Final = """\
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "{netns}"
env = {environ}
volumes = {volumes}
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""containers.conf(5): what the words of the page leave to Docker, and the Internet of the test."""

# As `docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v DATA:VOLUME:HOW`.
# /proc/self/fd/2 and the like belong to the container, so it needs its own /proc.
_RUN: Final = """\
root=$1 data=$2 volume=$3 how=$4 user=$5 group=$6; shift 6
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" &&
mount --bind "$data" "$root$volume" && mount -o "remount,bind,$how" "$root$volume" &&
mount -t proc proc "$root/proc" &&
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups \\
    --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class Images:
    """Images and containers in a folder of their own. Raises `NoTreeError` without buildah."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._options = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        self._options += ["--storage-driver", "vfs"]
        folder.mkdir()
        for program in ("buildah", "podman", "crun"):
            if not shutil.which(program):
                raise NoTreeError(f"no {program}")

    def base(self, tree: Path) -> None:
        """Make the base image of a tree."""
        container = self.buildah("from", "scratch")
        subprocess.run(["cp", "-a", f"{tree}/.", self.buildah("mount", container)], check=True)
        self.buildah("commit", "--quiet", "--rm", container, BASE)

    def build(self, wheels: Path, checkout: Path = ROOT) -> None:
        """Build the image of a checkout by the command of the page."""
        conf = self._folder / "pip.conf"
        conf.write_text(_PIP)
        build = f"{_BUILD} --volume={wheels}:/wheels:ro --volume={conf}:/etc/pip.conf:ro"
        docker = self._folder / "bin/docker"
        docker.parent.mkdir(exist_ok=True)
        docker.write_text(_DOCKER.format(build=build, options=" ".join(self._options)))
        docker.chmod(0o755)
        with self.docker(BUILD, checkout=checkout) as process:
            said, _ = process.communicate()
        if process.returncode:
            raise NoTreeError(f"{BUILD}: {said[-3000:]}")

    def docker(
        self,
        command: str,
        netns: str = "host",
        environ: Sequence[str] = (),
        volumes: Sequence[str] = (),
        checkout: Path = ROOT,
    ) -> subprocess.Popen[str]:
        """Start a command line with `docker`, in a checkout."""
        conf = self._folder / "containers.conf"
        shown = {"environ": json.dumps([*environ]), "volumes": json.dumps([*volumes])}
        conf.write_text(_CONTAINERS_CONF.format(netns=netns, **shown))
        path = f"{self._folder}/bin:{os.environ['PATH']}"
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", command],
            cwd=checkout,
            env=os.environ | {"CONTAINERS_CONF": str(conf), "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def said(self, command: str) -> str:
        """Run a command line with `docker`, and return what it prints."""
        with self.docker(command) as process:
            shown, _ = process.communicate(timeout=TIMEOUT)
        return shown

    @contextlib.contextmanager
    def served(self, inside: Namespace, ca_file: Path, log: Path, last: str) -> Iterator[None]:
        """Run the daemon by the command of the page, with the DNS and the CA of the test.

        It is ended by `last`, and must exit with 0.
        """
        settings = {
            "POSTFIX_MTA_STS__DNS": json.dumps({"nameservers": [DAEMON_DNS], "timeout": "2s"}),
            "POSTFIX_MTA_STS__HTTPS__CA_FILE": "/etc/ca.pem",
            "POSTFIX_MTA_STS__HTTPS__ALLOW_PRIVATE_ADDRESSES": "true",
        }
        environ = [f"{name}={value}" for name, value in settings.items()]
        netns = f"ns:/run/netns/{inside.name}"
        with self.docker(RUN, netns, environ, [f"{ca_file}:/etc/ca.pem:ro"]) as process:
            assert process.stdout
            transcript = Transcript(process.stdout, log)
            try:
                transcript.wait("started version=")
                yield
            finally:
                self.said(last)
                transcript.end()
        assert process.returncode == 0

    def config(self) -> Any:  # noqa: ANN401 - JSON has any shape
        """Return the configuration of the image (`docker inspect`, Config)."""
        said = json.loads(self.buildah("inspect", "--type", "image", IMAGE))
        return said["Docker"]["config"]

    def container(self) -> tuple[str, Path]:
        """Create a container; return its name and its root."""
        name = self.buildah("from", "--pull-never", IMAGE)
        return name, Path(self.buildah("mount", name))

    def buildah(self, *words: str) -> str:
        """Return the output of a buildah command. Raises `NoTreeError` if it fails."""
        command = ["buildah", *self._options, *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise NoTreeError(f"{' '.join(words[:2])}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()


class Container:
    """A running container; made by `running`."""

    def __init__(self, process: subprocess.Popen[str], user: str) -> None:
        self._process = process
        self._user = user
        # unshare(1) has one child, and lives as long as it does.
        (self.pid,) = _children(process)
        """`pid` is the daemon's as seen by this machine; in its container it is 1."""

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user (`docker exec`)."""
        uid, gid = self._user.split(":")
        enter = ["nsenter", f"--target={self.pid}", "--all", "--root", "--wdns=/"]
        as_user = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"]
        environ = Path(f"/proc/{self.pid}/environ").read_text().rstrip("\0").split("\0")
        return subprocess.run(
            [*enter, *as_user, "env", "-i", *environ, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    def stop(self) -> int:
        """Send SIGTERM to the daemon; return its exit code (`docker stop`)."""
        os.kill(self.pid, signal.SIGTERM)
        return self._process.wait(TIMEOUT)


@contextlib.contextmanager
def running(
    config: Mapping[str, Any],
    root: Path,
    data: Path,
    environ: Mapping[str, str],
    inside: Namespace,
    log: Path,
    *,
    user: str | None = None,
    is_writable: bool = True,
) -> Iterator[tuple[Container, Transcript]]:
    """Run the image's command in a container with `data` as its volume; yield it and its log.

    `user`: another user and group than that of the image. `is_writable`: whether the volume is.
    """
    (volume,) = config["Volumes"]
    user = user or config["User"]
    uid, gid = user.split(":")
    how = "rw" if is_writable else "ro"
    command = [*config["Entrypoint"], *config["Cmd"]]
    words = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _RUN, "run"]
    process = subprocess.Popen(
        inside.command(*words, root, data, volume, how, uid, gid, *command),
        stderr=subprocess.PIPE,
        text=True,
        env=dict(each.split("=", 1) for each in config["Env"]) | dict(environ),
    )
    assert process.stderr
    transcript = Transcript(process.stderr, log)
    try:
        transcript.wait("started version=")
        yield Container(process, user), transcript
    finally:
        _end(process)
        transcript.end()


def _children(process: subprocess.Popen[str]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


def _end(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to the first process of the container, which ends all others."""
    if process.poll() is None:
        for pid in _children(process):
            os.kill(pid, signal.SIGKILL)
        process.wait(TIMEOUT)

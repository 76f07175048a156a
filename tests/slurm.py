"""A Slurm of its own on this machine: a controller and several nodes on the loopback, in one folder.

It needs root and Debian's packages slurm-wlm and munge. Nothing of an installed Slurm is touched: configuration, keys,
state, logs and ports are the folder's own.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

COMMANDS = ("slurmctld", "slurmd", "sinfo", "sbatch", "srun", "munged")
PR_SET_PDEATHSIG = 1  # linux/prctl.h

CONFIG = """
ClusterName=own
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=100000
ReturnToService=2
SlurmdTimeout={dead_after}
KillWait=2
MinJobAge=86400
SlurmdParameters=config_overrides
PartitionName=main Nodes=ALL Default=YES State=UP
"""
NODE = "CPUs=1 RealMemory=2000"  # of the machine, as far as the scheduler is told

# Snakemake's step in a job calls srun without SLURM_CONF, as where the configuration lies in /etc
SRUN = """#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


def missing() -> str | None:
    """Return what this machine lacks for a Slurm of its own, as a sentence, or None."""
    if os.geteuid() != 0:
        return "A Slurm of its own needs root: run this as root, or leave it to continuous integration."
    lacking = [command for command in COMMANDS if shutil.which(command) is None]
    if lacking:
        return f"{', '.join(lacking)} not found: apt-get install slurm-wlm munge."
    return None


class Slurm:
    """A running cluster; every process that belongs to it ends with the block.

    Args:
        folder: where everything of it lies; its path has to be short enough for a socket's name.
        nodes: how many nodes, each of one CPU.
        dead_after: seconds of silence after which the controller gives a node up.
    """

    def __init__(self, folder: Path, nodes: int = 2, dead_after: int = 5) -> None:
        self.folder, self.names = folder, [f"n{i + 1}" for i in range(nodes)]
        self._daemons: dict[str, subprocess.Popen] = {}
        ports = _free_ports(nodes + 1)
        lines = [CONFIG.format(folder=folder, port=ports[0], dead_after=dead_after).strip()]
        for name, port in zip(self.names, ports[1:], strict=True):
            lines.append(
                f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=2000"
            )
        (folder / "state").mkdir(parents=True)
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        srun = folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(SRUN.format(folder=folder, srun=shutil.which("srun")))
        srun.chmod(0o755)
        key = folder / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(1024))

    @property
    def settings(self) -> dict[str, str]:
        """What has to be in the environment for Slurm's commands to talk to this cluster."""
        search = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": search}

    def __enter__(self) -> Self:
        try:
            files = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed")}
            socket_file = f"--socket={self.folder}/munge.sock"
            self._start("munged", "--foreground", "--force", socket_file, files["key"], files["pid"], files["seed"])
            wait_for((self.folder / "munge.sock").exists, "munged opens its socket", 20)
            self._start("slurmctld", "-D", "-i")
            for name in self.names:
                self.start_node(name)
            wait_for(lambda: self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split() == self.names, "nodes", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self.names, "slurmctld"]:
            self.stop(name)
        for process in self._processes():
            _kill(process)
        self.stop("munged")

    def start_node(self, name: str) -> None:
        """Start a node's daemon."""
        self._start("slurmd", "-D", "-N", name, name=name)

    def kill_node(self, name: str) -> None:
        """End a node without warning: its daemon, its jobs and what watches over them."""
        self.stop(name, signal.SIGKILL)
        for process in self._processes(f"SLURMD_NODENAME={name}"):
            for each in (_parent_stepd(process), process):
                if each:
                    _kill(each)

    def stop(self, name: str, how: int = signal.SIGTERM) -> None:
        """End a daemon."""
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(how)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, *command: str) -> str:
        """Return what one of Slurm's commands says."""
        return subprocess.run(
            command, env=os.environ | self.settings, capture_output=True, text=True, check=False
        ).stdout

    def _start(self, *command: str, name: str | None = None) -> None:
        name = name or command[0]
        libc = ctypes.CDLL(None)
        with (self.folder / f"{name}.log").open("a") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                env=os.environ | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # ends even where this is killed
            )

    def _processes(self, also: str | None = None) -> list[Path]:
        """Return the processes whose environment names this cluster, but for those outside of its nodes."""
        wanted = {f"SLURM_CONF={self.folder}/slurm.conf"} | ({also} if also else set())
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = set((process / "environ").read_text(errors="replace").split("\0"))
            except OSError:  # it has ended
                continue
            if wanted <= environment and ("slurmstepd" in _command(process) or _has(environment, "SLURMD_NODENAME")):
                found.append(process)
        return found


def _has(environment: set[str], name: str) -> bool:
    return any(entry.startswith(f"{name}=") for entry in environment)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _parent_stepd(process: Path) -> Path | None:
    """Return the slurmstepd that a process of a job descends from."""
    try:
        while process.name != "1":
            parent = next(
                line.split()[1] for line in (process / "status").read_text().splitlines() if line.startswith("PPid:")
            )
            process = process.with_name(parent)
            if "slurmstepd" in _command(process):
                return process
            if parent == "0":
                return None
    except OSError:
        pass
    return None


def _kill(process: Path) -> None:
    with suppress(ProcessLookupError):
        os.kill(int(process.name), signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_for(holds: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once something holds; TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for this: {what}")
        time.sleep(0.2)

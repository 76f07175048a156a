"""A private Slurm cluster on this machine: a controller and several nodes on the loopback, in one folder.

It needs root and Debian's packages slurm-wlm and munge. It does not touch an installed Slurm: configuration, keys,
state and logs are in its own folder, and it uses free ports.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil

from tests.conftest import wait_until

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
SlurmdTimeout=5
KillWait=2
MinJobAge=86400
SlurmdParameters=config_overrides
PartitionName=main Nodes=ALL Default=YES State=UP
"""

# Snakemake's step in a job calls srun without SLURM_CONF, which works only for a configuration in /etc
SRUN = """#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


def missing() -> str | None:
    """Return a sentence on what the cluster tests lack on this machine, or None."""
    if os.geteuid() != 0:
        return "The cluster tests need root: run them as root, or leave them to continuous integration."
    lacking = [command for command in COMMANDS if shutil.which(command) is None]
    if lacking:
        return f"{', '.join(lacking)} not found: apt-get install slurm-wlm munge."
    return None


class Slurm:
    """A running cluster; every process that belongs to it ends with the block.

    Args:
        folder: for all its files; the path has to be short enough for a socket's name.
        nodes: how many nodes, each of one CPU.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.names = folder, [f"n{i + 1}" for i in range(nodes)]
        self._daemons: dict[str, subprocess.Popen] = {}
        port, *ports = _free_ports(nodes + 1)
        config = CONFIG.format(folder=folder, port=port)
        for name, port in zip(self.names, ports, strict=True):
            config += f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=2000\n"
        (folder / "state").mkdir(parents=True)
        (folder / "slurm.conf").write_text(config, encoding="utf-8")
        srun = folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(SRUN.format(folder=folder, srun=shutil.which("srun")), encoding="utf-8")
        srun.chmod(0o755)
        key = folder / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(1024))

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables with which Slurm's commands talk to this cluster."""
        search = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": search}

    def __enter__(self) -> Self:
        try:
            files = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "seed")}
            socket_file = f"--socket={self.folder}/munge.sock"
            self._start("munged", "--foreground", "--force", socket_file, files["key"], files["pid"], files["seed"])
            wait_until((self.folder / "munge.sock").exists, "munged opens its socket", 20)
            self._start("slurmctld", "-D", "-i")
            for name in self.names:
                self._start("slurmd", "-D", "-N", name, name=name)
            idle = ("sinfo", "-h", "-N", "-t", "idle", "-o", "%N")
            wait_until(lambda: self.ask(*idle).split() == self.names, "nodes", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self.names, "slurmctld"]:
            self.stop(name)
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.stop("munged")

    def kill_node(self, name: str) -> None:
        """Kill a node: its daemon, its jobs and their slurmstepd processes."""
        self.stop(name, signal.SIGKILL)
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                if process.environ().get("SLURMD_NODENAME") == name:
                    for each in [p for p in process.parents() if p.name() == "slurmstepd"] + [process]:
                        each.kill()

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
        """Return the output of one of Slurm's commands."""
        environment = os.environ | self.settings
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False).stdout

    def _start(self, *command: str, name: str | None = None) -> None:
        name = name or command[0]
        libc = ctypes.CDLL(None)
        with (self.folder / f"{name}.log").open("a", encoding="utf-8") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                env=os.environ | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # it ends even if this process is killed
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
            )

    def _processes(self) -> list[psutil.Process]:
        """Return the processes of this cluster's jobs, found by their environment, and their slurmstepd processes."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it has ended
                environment = process.environ()
                on_a_node = "SLURMD_NODENAME" in environment or process.name() == "slurmstepd"
                if on_a_node and environment.get("SLURM_CONF") == self.settings["SLURM_CONF"]:
                    found.append(process)
        return found


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]

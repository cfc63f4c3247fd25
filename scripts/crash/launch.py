"""One start of the program, with a plan for its death (tests/faults/environment.cpp)."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import time

KILLED = -signal.SIGKILL
STOPPED = 75  # docs/exit-codes.md


@dataclasses.dataclass(frozen=True)
class Site:
    """A call for a file of the run, wherever in time: "rename checkpoints/.saving". Numbers of updates are left out."""

    function: str
    path: str

    def __str__(self):
        return f"{self.function} {self.path}"

    def can_be_half_done(self):
        return self.function in ("write", "pwrite", "writev")


PRODUCT = Site("dnnl_sgemm", "-")


@dataclasses.dataclass(frozen=True)
class Plan:
    """When the process dies. What is not set does not happen."""

    action: str = ""  # kill-before, kill-within, kill-after
    at: int = 0  # at this call of those that count
    only: Site | None = None  # only calls of this site count
    calls: str = "changing,products"  # or all of these
    stop_at: int = 0  # SIGTERM at this matrix product
    seconds: float | None = None  # SIGKILL from outside after so long

    def variables(self):
        variables = {"ACCRUE_FAULTS_CALLS": self.calls}
        if self.action:
            variables["ACCRUE_FAULTS"] = f"{self.action}@{self.at}"
        if self.only:
            variables["ACCRUE_FAULTS_ONLY"] = str(self.only)
        if self.stop_at:
            variables["ACCRUE_FAULTS_STOP"] = str(self.stop_at)
        return variables


@dataclasses.dataclass
class Ended:
    """What a start came to."""

    plan: Plan
    exit_code: int
    seconds: float
    output: str
    sites: list  # the calls that were counted, in their order; the last one is where it died


@dataclasses.dataclass
class Launcher:
    """Starts the program for one directory of a run and keeps a journal of it."""

    command: list
    run: pathlib.Path
    library: pathlib.Path
    journal: list = dataclasses.field(default_factory=list)

    def start(self, plan):
        log = self.run.with_name(self.run.name + ".calls")
        log.unlink(missing_ok=True)
        variables = {"LD_PRELOAD": str(self.library), "ACCRUE_FAULTS_FOLDER": str(self.run),
                     "ACCRUE_FAULTS_LOG": str(log), **plan.variables()}
        begin = time.monotonic()
        process = subprocess.Popen([str(word) for word in self.command], env={**os.environ, **variables},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True)
        output = wait(process, plan.seconds)
        self.journal.append(journal_entry(variables, self.command, plan.seconds, process.returncode))
        return Ended(plan, process.returncode, time.monotonic() - begin, output, read_sites(log, self.run))


def wait(process, seconds):
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def journal_entry(variables, command, seconds, exit_code):
    words = [f"{name}='{value}'" for name, value in variables.items()] + [str(word) for word in command]
    killed = f"  # SIGKILL after {seconds:.4f} s" if seconds is not None else ""
    return " ".join(words) + f"{killed}  # exit code {exit_code}"


def site_of(line, run):
    _, function, path = line.split(" ", 2)
    path = path.removeprefix(str(run)).lstrip("/").removesuffix(" (deleted)")
    return Site(function, re.sub(r"update-\d+(\.\d+)?", "update-*", path))


def read_sites(log, run):
    if not log.exists():
        return []
    return [site_of(line, run) for line in log.read_text().splitlines()]

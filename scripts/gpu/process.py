"""Programs that are stopped when their time is up."""

import dataclasses
import os
import signal
import subprocess
import time

PASSED, FAILED, STOPPED, NOT_RUN = "passed", "failed", "stopped", "not run"


@dataclasses.dataclass
class Finished:
    """A program that ended, or was stopped."""

    status: str  # PASSED for exit code 0, FAILED, or STOPPED when the time was up
    exit_code: int | None
    seconds: float
    output: str  # standard output and, unless it was kept apart, standard error
    errors: str = ""

    def last_lines(self, count=15):
        lines = (self.output + "\n" + self.errors).strip().splitlines()
        return "\n".join(lines[-count:])


class Deadline:
    """A point in time, as seconds that are left."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def over(self):
        return self.left() <= 0

    def part(self, share):
        """The deadline after this share of the time that is left."""
        return Deadline(self.left() * share)


def stop(process):
    """End the program and everything it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=3)
            return
        except subprocess.TimeoutExpired:
            continue


def run(command, deadline, environment=None, folder=None, keep_errors_apart=False):
    """Run the command until it ends or the deadline passes; return a Finished, whatever happens."""
    begin = time.monotonic()
    if deadline.over():
        return Finished(STOPPED, None, 0, "", "no time was left")
    try:
        process = subprocess.Popen([str(part) for part in command], env=environment, cwd=folder, text=True,
                                   errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE if keep_errors_apart else subprocess.STDOUT,
                                   start_new_session=True)
    except OSError as error:
        return Finished(FAILED, None, 0, "", str(error))
    try:
        output, errors = process.communicate(timeout=deadline.left())
        status = PASSED if process.returncode == 0 else FAILED
        return Finished(status, process.returncode, time.monotonic() - begin, output, errors or "")
    except subprocess.TimeoutExpired:
        stop(process)
        output, errors = process.communicate()
        return Finished(STOPPED, None, time.monotonic() - begin, output or "", errors or "")

"""What a part of the check has found."""

import dataclasses

from gpu.process import FAILED, NOT_RUN, PASSED, STOPPED


@dataclasses.dataclass
class Line:
    """One thing that was checked."""

    name: str
    status: str
    seconds: float = 0
    detail: str = ""


@dataclasses.dataclass
class Part:
    """All lines of one part, and figures for the report: tables as lists of rows, the first one the heading."""

    name: str
    lines: list = dataclasses.field(default_factory=list)
    tables: dict = dataclasses.field(default_factory=dict)
    note: str = ""  # why nothing was run, or what a reader must know
    seconds: float = 0

    def add(self, name, status, seconds=0, detail=""):
        self.lines.append(Line(name, status, seconds, detail))

    def status(self):
        """FAILED if a line failed, else STOPPED if time was short, else PASSED; NOT_RUN if nothing was run."""
        found = {line.status for line in self.lines}
        if FAILED in found:
            return FAILED
        if STOPPED in found:
            return STOPPED
        return PASSED if PASSED in found else NOT_RUN

    def counts(self):
        return {status: sum(line.status == status for line in self.lines)
                for status in (PASSED, FAILED, STOPPED, NOT_RUN)}

    def as_json(self):
        return {**dataclasses.asdict(self), "status": self.status(), "counts": self.counts()}

"""The report as Markdown."""

from gpu.process import FAILED, NOT_RUN, PASSED, STOPPED

SHOWN = {PASSED: "passed", FAILED: "**FAILED**", STOPPED: "**stopped**", NOT_RUN: "not run"}


def one_line(text, limit=300):
    """The text in one line of a table; of a long one the end, where programs say what went wrong."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return flat if len(flat) <= limit else "… " + flat[-limit:]


def markdown_table(rows):
    heading, *body = rows
    return "\n".join(["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading),
                      *("| " + " | ".join(str(cell) for cell in row) + " |" for row in body)])


def facts_table(facts, date):
    build, gpu = facts["build"], facts["gpu"]
    rows = [["", ""], ["date", date], ["device", facts["cuda_device"] or f"none: {facts['why_no_device']}"],
            ["driver", gpu.get("driver_version", "none")], ["power limit", gpu.get("power.limit", "unknown")],
            ["commit", build["commit"] + (" + changes" if build.get("changed") else "")],
            ["built", ", ".join(f"{key} {value}" for key, value in build.items() if key not in ("commit", "changed"))],
            ["toolkit here", facts["toolkit"]], ["compute-sanitizer", facts["compute_sanitizer"]],
            ["PyTorch", facts["torch"]], ["processor", facts["processor"]], ["system", facts["system"]]]
    return markdown_table([[one_line(str(cell)) for cell in row] for row in rows])


def summary_table(parts):
    rows = [["part", "outcome", "passed", "failed", "stopped", "not run", "seconds", ""]]
    for part in parts:
        counts = part["counts"]
        rows.append([part["name"], SHOWN[part["status"]], *(counts[status] for status in (PASSED, FAILED, STOPPED, NOT_RUN)),
                     f"{part['seconds']:.0f}", one_line(part["note"])])
    return markdown_table(rows)


def part_section(part):
    """Everything of a part that is worth reading: of many lines that passed, only their number."""
    lines = part["lines"]
    if len(lines) > 20:
        lines = [line for line in lines if line["status"] != PASSED]
    text = [f"## {part['name'].capitalize()}\n"]
    if part["note"]:
        text.append(part["note"] + ".\n")
    if lines:
        rows = [["", "outcome", "seconds", ""]]
        rows += [[one_line(line["name"]), SHOWN[line["status"]], f"{line['seconds']:.1f}", one_line(line["detail"])]
                 for line in lines]
        text.append(markdown_table(rows) + "\n")
    elif part["lines"]:
        text.append(f"All {len(part['lines'])} passed.\n")
    for name, table in part["tables"].items():
        if len(table) > 1:
            text.append(f"### {name}\n\n{markdown_table(table)}\n")
    return "\n".join(text)


def markdown(report):
    parts = report["parts"]
    asked = set(report["asked"])
    left_out = [name for name in report["all_parts"] if name not in asked]
    text = ["# Accrue on a GPU\n", facts_table(report["facts"], report["date"]) + "\n", summary_table(parts) + "\n"]
    if left_out:
        text.append(f"Not asked for: {', '.join(left_out)}.\n")
    text += [part_section(part) for part in parts]
    return "\n".join(text)

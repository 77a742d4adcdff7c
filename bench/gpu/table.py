"""The one table at the end."""
import dataclasses
import json


def summary(results):
    lines = [f"{'part':<24}{'status':<14}{'seconds':>8}  what"]
    for result in results:
        what = result.reason or f"{len(result.figures)} figures below"
        lines.append(f"{result.part:<24}{result.status:<14}{result.seconds:>8.1f}  {what[:300]}")
    return lines


def figures(result):
    names = max((len(figure.name) for figure in result.figures), default=0)
    values = max((len(figure.value) for figure in result.figures), default=0)
    lines = [f"-- {result.part}"]
    for figure in result.figures:
        line = f"{figure.name:<{names}}  {figure.value:>{values}}"
        line += f"  peer {figure.peer}" if figure.peer else ""
        line += f"  {figure.ratio:.2f} x" if figure.ratio is not None else ""
        line += f"  (aim: {figure.aim})" if figure.aim else ""
        lines.append(line)
    return lines


def render(heading, results):
    lines = ["", *heading]
    for result in results:
        if result.figures:
            lines += figures(result)
    return "\n".join([*lines, "", *summary(results)]) + "\n"


def write_json(path, heading, results):
    document = {"machine": heading, "parts": [dataclasses.asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

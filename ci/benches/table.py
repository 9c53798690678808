"""The rows of a benchmark: printed as a table, written as JSON."""
import json
import sys


class Row:
    """One figure. `peer` is the same figure of another implementation, `target` what ours must reach, `excuse` says more than a plain NO when it is missed."""

    def __init__(self, name, value, unit, better="higher", peer=None, target=None, excuse=None):
        self.name, self.value, self.unit, self.better = name, value, unit, better
        self.peer, self.target, self.excuse = peer, target, excuse

    def ratio(self):
        """How many times better than the peer."""
        if self.peer is None or not self.value:
            return None
        return self.value / self.peer if self.better == "higher" else self.peer / self.value

    def verdict(self):
        if self.target is None:
            return ""
        if self.value >= self.target if self.better == "higher" else self.value <= self.target:
            return "yes"
        return self.excuse or "NO"

    def document(self):
        return {"name": self.name, "value": self.value, "unit": self.unit, "peer": self.peer, "target": self.target, "better": self.better}


def number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


class Table:
    def __init__(self):
        self.rows, self.notes = [], []

    def add(self, *arguments, **options):
        self.rows.append(Row(*arguments, **options))

    def note(self, text):
        self.notes.append(text)

    def print(self):
        lines = [("name", "value", "unit", "peer", "ratio", "target", "met?")]
        for row in self.rows:
            ratio = row.ratio()
            target = "" if row.target is None else ("at least " if row.better == "higher" else "at most ") + number(row.target)
            lines.append((row.name, number(row.value), row.unit, number(row.peer), "" if ratio is None else f"{ratio:.1f}x", target, row.verdict()))
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        numeric = (1, 3, 4)
        for line in lines:
            cells = [c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
            print("  ".join(cells).rstrip())
        for note in self.notes:
            print(f"note: {note}")
        sys.stdout.flush()

    def write(self, file):
        with open(file, "w") as out:
            json.dump([row.document() for row in self.rows], out, indent=1)
            out.write("\n")

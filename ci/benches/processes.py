"""What the runtime's own processes use: components do not count."""
import contextlib
import pathlib
import time


def own(process, binary):
    """The processes of `binary` among this one and its descendants."""
    found, waiting = [], [process.pid]
    while waiting:
        pid = waiting.pop()
        folder = pathlib.Path("/proc") / str(pid)
        try:
            if (folder / "exe").resolve() == binary.resolve():
                found.append(pid)
            for task in (folder / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it has ended meanwhile
    return found


def pss(pids):
    """Proportional set size in MB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # one between fork and exec has ended meanwhile
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total * 1024 / 1e6


def settled_pss(find, pace=0.5, readings=5, limit=15):
    """The memory of the processes that `find` returns, once it has stopped changing: the largest of the last readings."""
    last, deadline = [], time.monotonic() + limit
    while time.monotonic() < deadline:
        last = [*last, pss(find())][-readings:]
        if len(last) == readings and max(last) - min(last) < 0.01 * max(last):
            break
        time.sleep(pace)
    return max(last)

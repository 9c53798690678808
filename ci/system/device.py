"""A core device in a folder of its own, driven through the built programs only: for the system tests and the benchmarks."""
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("GREENGRASS_BINARY", ROOT / "target" / "debug" / "greengrass"))
PROBE = pathlib.Path(__file__).parent / "probe"


def until(condition, what, seconds=20):
    """Waits for a condition, with a deadline; returns what the condition returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)  # the pace of looking, not a wait for something to be over


class CommandFailed(AssertionError):
    def __init__(self, command, result):
        super().__init__(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        self.code, self.out, self.err = result.returncode, result.stdout, result.stderr


class Device:
    """A core device: `greengrass run` on a temporary root, and the CLI beside it."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.process = None
        self.output = None
        self.sources = self.root.parent / "sources"
        self.outputs = self.root.parent
        self.starts = 0
        self.extra = []
        self.environment = {}

    # --- the runtime ---
    def start(self, *extra, wait=True):
        self.starts += 1
        self.output = self.outputs / f"run-{self.starts}.log"
        environment = {**os.environ, **self.environment}
        environment.pop("JOURNAL_STREAM", None)
        self.process = subprocess.Popen(
            [BINARY, "run", "--root", self.root, *self.extra, *extra],
            stdout=self.output.open("wb"), stderr=subprocess.STDOUT, env=environment)
        if wait:
            until(lambda: self.answers() or self.died(), f"the runtime answers; see {self.output}", 20)
        return self

    def died(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the runtime ended with {self.process.returncode}:\n{self.output.read_text()[-3000:]}")

    def answers(self):
        return self.cli("component", "list", "--output", "json", check=False).returncode == 0

    def stop(self, seconds=30):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(seconds)
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    # --- the CLI ---
    def cli(self, *arguments, check=True, timeout=60):
        command = [BINARY, "cli", "--ggcRootPath", self.root, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if check and result.returncode != 0:
            raise CommandFailed(command, result)
        return result

    def json(self, *arguments, **options):
        return json.loads(self.cli(*arguments, "--output", "json", **options).stdout)

    # --- components ---
    def component(self, name, version="1.0.0", files=None, **recipe):
        """Writes a component's recipe and artifacts where `deploy` finds them."""
        document = {"RecipeFormatVersion": "2020-01-25", "ComponentName": name, "ComponentVersion": version, **recipe}
        recipes = self.sources / "recipes"
        recipes.mkdir(parents=True, exist_ok=True)
        (recipes / f"{name}-{version}.json").write_text(json.dumps(document))
        folder = self.sources / "artifacts" / name / version
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in (files or {}).items():
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"{name}={version}"

    def shell(self, name, version="1.0.0", configuration=None, dependencies=None, access=None, **lifecycle):
        """A component whose steps are shell scripts."""
        default = dict(configuration or {})
        if access:
            default["accessControl"] = access
        return self.component(
            name, version, Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": lifecycle}],
            ComponentConfiguration={"DefaultConfiguration": default}, ComponentDependencies=dependencies or {})

    def deploy(self, *merge, remove=(), check=True, wait=True, timeout=60, update=None, policy=None, group=None, more=()):
        """Creates a deployment and, unless told otherwise, waits for its end. Returns its final report."""
        arguments = ["deployment", "create"]
        if self.sources.exists():
            arguments += ["--recipeDir", self.sources / "recipes", "--artifactDir", self.sources / "artifacts"]
        for each in merge:
            arguments += ["--merge", each]
        for each in remove:
            arguments += ["--remove", each]
        if update:
            arguments += ["--update-config", json.dumps(update)]
        if policy:
            arguments += ["--failure-handling-policy", policy]
        if group:
            arguments += ["--groupId", group]
        created = self.json(*arguments, *more)
        identifier = created["deploymentId"]
        if not wait:
            return identifier
        report = self.finished(identifier, timeout)
        if check:
            assert report["status"] == "SUCCEEDED", json.dumps(report, indent=1) + self.log()[-3000:]
        return report

    def finished(self, identifier, timeout=60):
        def final():
            report = self.json("deployment", "status", "-i", identifier)
            return report if report["status"] not in ("QUEUED", "IN_PROGRESS") else None
        return until(final, f"deployment {identifier} ends", timeout)

    def follow(self, identifier):
        """A CLI that follows a deployment, so that a test can wait for a phase of it."""
        return Following([BINARY, "cli", "--ggcRootPath", self.root, "deployment", "status", "-i", identifier, "--follow"])

    def components(self):
        return {c["componentName"]: c for c in self.json("component", "list")}

    def state(self, name):
        return self.components().get(name, {}).get("state")

    def details(self, name):
        return self.json("component", "details", "-n", name)

    def versions(self):
        return {name: component["version"] for name, component in self.components().items()}

    def wait_state(self, name, *states, seconds=20):
        return until(lambda: self.state(name) in states and self.state(name), f"{name} is {' or '.join(states)}, not {self.state(name)}", seconds)

    def component_log(self, name):
        file = self.root / "logs" / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait_log(self, name, text, seconds=20, count=1):
        until(lambda: self.component_log(name).count(text) >= count, f"{name} logs {text!r}:\n{self.component_log(name)[-2000:]}", seconds)

    def log(self):
        return self.output.read_text(errors="replace") if self.output else ""

    def survivors(self):
        """Processes that carry a token of this device's components, wherever they have gone."""
        marks = str(self.root).encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    environ = (entry / "environ").read_bytes()
                    if b"SVCUID=" in environ and marks in environ:
                        found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
                except OSError:
                    continue
        return found


class Following:
    """A command that goes on, and what it has written so far."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.lines = []
        self.arrived = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.arrived:
                self.lines.append(line.rstrip("\n"))
                self.arrived.notify_all()

    def text(self):
        with self.arrived:
            return "\n".join(self.lines)

    def wait_for(self, text, seconds=20):
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(text in line for line in self.lines), seconds), f"no {text!r} in {self.lines}"

    def end(self, seconds=30):
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code

    def stop(self):
        self.process.kill()
        self.end()


class Stream:
    def __init__(self):
        self.events, self.closed, self.error = [], False, None
        self.arrived = threading.Condition()

    def take(self, count=1, seconds=10):
        """Waits for the next `count` events and removes them."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.events) >= count, seconds):
                raise AssertionError(f"{len(self.events)} of {count} events within {seconds} s: {self.events}")
            taken, self.events = self.events[:count], self.events[count:]
            return taken if count > 1 else taken[0]

    def quiet(self, seconds=0.5):
        """Nothing more arrives for a while."""
        with self.arrived:
            assert not self.arrived.wait_for(lambda: self.events, seconds), self.events

    def wait_closed(self, seconds=10):
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.closed, seconds), "the stream is still open"


class Refused(Exception):
    """The SDK raised an error; its class is named as the SDK names it."""

    def __init__(self, reply):
        super().__init__(f"{reply['error']}: {reply.get('message')}")
        self.kind, self.message = reply["error"], reply.get("message")


class Probe:
    """The other end of a probe component: makes the official SDK, inside the component, do an operation."""

    def __init__(self, device, name, seconds=30):
        self.device, self.name = device, name
        self.path = device.root / "work" / name / "probe.sock"
        device.wait_log(name, "probe ready", seconds)
        self.socket = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(self.path.parent)  # a socket's address is short; the folder's path need not be
        try:
            self.socket.connect("probe.sock")
        finally:
            os.chdir(here)
        self.numbers = itertools.count(1)
        self.replies, self.streams = {}, {}
        self.arrived = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.socket.makefile("rb"):
            message = json.loads(line)
            if "stream" in message:
                stream = self.streams[message["stream"]]
                with stream.arrived:
                    if "event" in message:
                        stream.events.append(message["event"])
                    stream.closed = stream.closed or "closed" in message
                    stream.error = message.get("error", stream.error)
                    stream.arrived.notify_all()
            else:
                with self.arrived:
                    self.replies[message["id"]] = message
                    self.arrived.notify_all()

    def _ask(self, request, seconds=15):
        number = request.setdefault("id", next(self.numbers))
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        with self.arrived:
            if not self.arrived.wait_for(lambda: number in self.replies, seconds):
                raise AssertionError(f"no answer to {request} within {seconds} s")
            reply = self.replies.pop(number)
        if "error" in reply:
            raise Refused(reply)
        return reply["response"]

    def call(self, name, **request):
        return self._ask({"call": name, "request": request})

    def stream(self, name, **request):
        number = next(self.numbers)
        stream = self.streams[number] = Stream()
        stream.number = number
        stream.response = self._ask({"id": number, "stream": name, "request": request})
        return stream

    def close(self, stream):
        self._ask({"close": stream.number})

    def about(self):
        return self._ask({"env": True})


def allow(name, service="aws.greengrass.ipc.pubsub", operations=("*",), resources=("*",)):
    """An accessControl document with one policy."""
    return {service: {f"{name}:{service}:1": {"operations": list(operations), "resources": list(resources)}}}


def make_root(tmp_path):
    # Components run as a user of their own when the runtime is root: the way to the root must be open to it.
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path / "root"


def finish(made):
    made.stop()
    left = made.survivors()
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"processes outlived the runtime: {left}"

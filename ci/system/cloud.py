"""A greengrass-cloud in a folder of its own, and the unmodified AWS CLI and boto3 to talk to it: for the system tests."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from device import ROOT, CommandFailed, until

PROGRAM = pathlib.Path(os.environ.get("GREENGRASS_CLOUD_BINARY", ROOT / "target" / "debug" / "greengrass-cloud"))
AWS = pathlib.Path(sys.executable).parent / "aws"


class Cloud:
    """`greengrass-cloud serve` on free ports of the loopback interface."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.process = None
        self.starts = 0
        self.known = {}
        self.extra = []

    # --- the program ---
    def start(self, *extra, wait=True):
        self.starts += 1
        self.known = {}
        self.output = self.folder / f"cloud-{self.starts}.out"
        self.logfile = self.folder / f"cloud-{self.starts}.log"
        arguments = [*self.ports(), *self.extra, *extra]
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--data", self.data, *arguments],
            stdout=self.output.open("wb"), stderr=self.logfile.open("wb"), stdin=subprocess.DEVNULL)
        if wait:
            until(self.is_up, f"greengrass-cloud is up; see {self.logfile}", 30)
        return self

    @staticmethod
    def ports():
        names = ["http", "https", "mqtt", "devices"]
        return [word for name in names for word in (f"--listen-{name}", "127.0.0.1:0")]

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"greengrass-cloud ended with {self.process.returncode}:\n{self.log()[-3000:]}")
        return "is up" in self.output.read_text()

    def stop(self, seconds=20):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(seconds)
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def log(self):
        return self.logfile.read_text(errors="replace")

    def command(self, *arguments, check=True, stdin="", timeout=60):
        """`greengrass-cloud <arguments>`; `--data` is added."""
        name, *rest = map(str, arguments)
        words = [PROGRAM, name, *rest[:1], "--data", self.data, *rest[1:]] if name == "user" else [PROGRAM, name, "--data", self.data, *rest]
        result = subprocess.run(words, capture_output=True, text=True, input=stdin, timeout=timeout)
        if check and result.returncode != 0:
            raise CommandFailed(words, result)
        return result

    # --- where it is ---
    @property
    def url(self):
        return self.credentials()["AWS_ENDPOINT_URL"]

    @property
    def https(self):
        return re.search(r"https://\S+", self.output.read_text())[0]

    @property
    def ca(self):
        return self.data / "pki" / "ca.pem"

    def credentials(self, user="admin"):
        """What the printed lines export: endpoint, keys, region."""
        if user not in self.known:
            lines = self.command("credentials", "--user", user).stdout
            self.known[user] = dict(word.split("=", 1) for line in lines.splitlines() for word in line.split()[1:])
        return self.known[user]

    def account(self):
        return self.json("sts", "get-caller-identity")["Account"]

    # --- the AWS CLI ---
    def aws(self, *arguments, check=True, user="admin", environment=None, stdin=None, timeout=60):
        """The AWS CLI in a shell that has had the printed lines pasted into it, and nothing else of AWS."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        variables = {
            **clean, **self.credentials(user), "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PAGER": "", **(environment or {})}
        words = [AWS, *map(str, arguments)]
        result = subprocess.run(words, capture_output=True, text=True, env=variables, input=stdin, timeout=timeout, cwd=self.folder)
        if check and result.returncode != 0:
            raise CommandFailed(words, result)
        return result

    def json(self, *arguments, **options):
        text = self.aws(*arguments, "--output", "json", **options).stdout
        return json.loads(text) if text.strip() else {}

    def refused(self, *arguments, **options):
        """The error code and the text with which the CLI says that a call was refused."""
        result = self.aws(*arguments, check=False, **options)
        assert result.returncode != 0, result.stdout
        found = re.search(r"An error occurred \((\w+)\) when calling the \w+ operation[^:]*: (.*)", result.stderr, re.S)
        assert found, result.stderr
        return found[1], found[2].strip()

    # --- boto3 ---
    def client(self, service, user="admin", keys=None, https=False, **more):
        """A boto3 client. `keys` are credentials as STS gives them, in place of a user's."""
        import boto3
        from botocore.config import Config
        own = self.credentials(user)
        config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=30).merge(more.pop("config", Config()))
        session = boto3.Session(
            aws_access_key_id=keys["AccessKeyId"] if keys else own["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["SecretAccessKey"] if keys else own["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys.get("SessionToken") if keys else None,
            region_name=more.pop("region", own["AWS_DEFAULT_REGION"]))
        return session.client(
            service, endpoint_url=self.https if https else self.url, verify=str(self.ca) if https else None, config=config, **more)


@pytest.fixture
def cloud(tmp_path):
    """A fresh control plane."""
    made = Cloud(tmp_path)
    made.start()
    yield made
    code = made.stop()
    assert code in (0, -signal.SIGKILL), made.log()[-3000:]


@pytest.fixture
def stopped_cloud(tmp_path):
    """The same, not yet started."""
    made = Cloud(tmp_path)
    yield made
    made.stop()

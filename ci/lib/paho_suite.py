"""Runs each test of the public conformance suite (client_test.py, client_test5.py) on a fresh broker and prints what came of it."""
import argparse
import ast
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

from brokers import Certificates, broker

SUITES = {"client_test": ("3.1.1", 10), "client_test5": ("5", 26)}
LIMIT = 120
# What the suite sets up itself only when it runs as a program with its own arguments.
DRIVER = """
import importlib, logging, sys, unittest
module, test, port = sys.argv[1:4]
sys.path.insert(0, ".")
suite = importlib.import_module(module)
suite.host, suite.port, suite.topic_prefix = "127.0.0.1", int(port), "client_test5/"
suite.topics = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
suite.wildtopics = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
suite.nosubscribe_topics = ("test/nosubscribe",)
logging.getLogger().setLevel(logging.ERROR)
unittest.main(module=suite, argv=[module, "Test." + test], verbosity=0)
"""


def tests(file):
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == "Test":
            return [each.name for each in node.body if isinstance(each, ast.FunctionDef) and each.name.startswith("test")]
    raise SystemExit(f"{file}: no class Test")


def run(suite, module, test, certificates, folder):
    # Its tests want a keep-alive of 120 seconds answered with 60, and a subscription to test/nosubscribe refused.
    made = broker(folder, certificates, suite=test).start()
    began = time.monotonic()
    try:
        done = subprocess.run([sys.executable, "-c", DRIVER, module, test, str(made.plain)], cwd=suite, capture_output=True, text=True, timeout=LIMIT)
        passed, text = done.returncode == 0, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        passed, text = False, f"not over within {LIMIT} s"
    finally:
        ended = made.process.poll()
        made.stop()
    if ended is not None:
        passed, text = False, f"the broker ended with {ended}"
    marks = ("Error", "not over", "ended with")
    reasons = [line for line in text.splitlines() if any(mark in line for mark in marks)]
    return passed, time.monotonic() - began, "" if passed else (reasons or text.splitlines() or [""])[-1][:140], text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=pathlib.Path, required=True)
    parser.add_argument("--place", type=pathlib.Path, required=True)
    parser.add_argument("--at-a-time", type=int, default=4)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    certificates = Certificates(arguments.place)
    enough = True
    with concurrent.futures.ThreadPoolExecutor(arguments.at_a_time) as pool:
        for module, (version, wanted) in SUITES.items():
            names = [name for name in tests(arguments.suite / f"{module}.py") if arguments.only in name]
            running = {name: pool.submit(run, arguments.suite, module, name, certificates, arguments.place / f"{module}-{name}") for name in names}
            good = 0
            for name, result in running.items():
                passed, seconds, reason, text = result.result()
                good += passed
                print(f"{version:6} {name:34} {'PASS' if passed else 'FAIL'} {seconds:5.1f} s  {reason}", flush=True)
                if not passed and os.environ.get("VERBOSE"):
                    print(text)
            print(f"{version:6} {good} of {len(names)}; at least {wanted} are expected")
            enough = enough and (good >= wanted or bool(arguments.only))
    return 0 if enough else 1


sys.exit(main())

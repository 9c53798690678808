"""A core device connected to greengrass-cloud: messages both ways, the spool, credentials, by the official SDK and boto3."""
import base64
import json
import os
import re
import signal
import socket
import sys

import pytest
from cloud import Cloud
from conftest import python_probe
from device import Device, Probe, Refused, allow, finish, make_root, until

PROXY = "aws.greengrass.ipc.mqttproxy"
THING = "link-core"
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "iot:*", "Resource": "*"},
    {"Effect": "Deny", "Action": ["iot:Publish", "iot:Subscribe"], "Resource": [
        "arn:aws:iot:*:*:topic/forbidden/*", "arn:aws:iot:*:*:topicfilter/forbidden/*"]}]}


class LinkedCloud(Cloud):
    """One that is on the same ports after each start."""

    fixed = None

    def ports(self):
        if not self.fixed:
            sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
            self.fixed = [s.getsockname()[1] for s in sockets]
            for each in sockets:
                each.close()
        names = ["http", "https", "mqtt", "devices"]
        return [word for name, port in zip(names, self.fixed, strict=True) for word in (f"--listen-{name}", f"127.0.0.1:{port}")]

    def register(self, folder, thing=THING):
        """A thing with its certificate and policy, by the AWS CLI; returns the nucleus' configuration."""
        self.json("iot", "create-thing", "--thing-name", thing)
        made = self.json("iot", "create-keys-and-certificate", "--set-as-active")
        name = f"{thing}-policy"
        self.json("iot", "create-policy", "--policy-name", name, "--policy-document", json.dumps(POLICY))
        self.json("iot", "attach-policy", "--policy-name", name, "--target", made["certificateArn"])
        self.json("iot", "attach-thing-principal", "--thing-name", thing, "--principal", made["certificateArn"])
        files = {"cert.pem": made["certificatePem"], "key.pem": made["keyPair"]["PrivateKey"], "ca.pem": self.ca.read_text()}
        folder.mkdir(exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
            (folder / file).chmod(0o600)
        return {
            "system": {
                "thingName": thing, "rootCaPath": str(folder / "ca.pem"), "certificateFilePath": str(folder / "cert.pem"),
                "privateKeyPath": str(folder / "key.pem")},
            "services": {"aws.greengrass.Nucleus": {"configuration": {
                "awsRegion": "us-east-1", "iotDataEndpoint": "127.0.0.1",
                "mqtt": {"port": self.fixed[2], "maximumReconnectDelaySeconds": 1}}}}}

    def role(self, alias, bucket):
        """A role that may read a bucket, and its alias."""
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "credentials.iot.amazonaws.com"}}]}
        may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}]}
        role = self.json("iam", "create-role", "--role-name", alias, "--assume-role-policy-document", json.dumps(trust))
        self.aws("iam", "put-role-policy", "--role-name", alias, "--policy-name", "read", "--policy-document", json.dumps(may))
        self.json("iot", "create-role-alias", "--role-alias", alias, "--role-arn", role["Role"]["Arn"])


def nucleus(configuration):
    return configuration["services"]["aws.greengrass.Nucleus"]["configuration"]


def payload(text):
    return base64.b64encode(text.encode()).decode()


def texts(events):
    return [base64.b64decode(event["message"]["payload"]).decode() for event in events]


@pytest.fixture
def linked_cloud(tmp_path):
    (tmp_path / "cloud").mkdir()
    made = LinkedCloud(tmp_path / "cloud").start()
    yield made
    made.stop()


@pytest.fixture
def core(tmp_path):
    """Not yet started; `configure` writes its configuration file."""
    made = Device(make_root(tmp_path))

    def configure(document):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(document))
        made.extra = ["--config", file]

    made.configure = configure
    made.keys = tmp_path / "keys"
    yield made
    finish(made)


def connected(device, times=1):
    until(lambda: device.log().count("connected to the cloud") >= times, "the device is connected; " + str(device.output))


def probe(device, name="com.test.Linked"):
    device.deploy(python_probe(device, name, access=allow(name, PROXY)))
    return Probe(device, name)


def test_messages_travel_both_ways_with_all_their_members(linked_cloud, core):
    core.configure(linked_cloud.register(core.keys))
    core.start()
    connected(core)
    component = probe(core)
    stream = component.stream("subscribe_to_iot_core", topicName="plant/+", qos="1")
    request = {
        "topicName": "plant/one", "qos": "1", "payload": payload("hello"), "contentType": "text/plain", "payloadFormat": "1",
        "responseTopic": "plant/answers", "correlationData": payload("7"), "messageExpiryIntervalSeconds": 600,
        "userProperties": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}
    component.call("publish_to_iot_core", **request)
    message = stream.take()["message"]
    assert message["topicName"] == "plant/one" and message["payload"] == payload("hello")
    for member in ["contentType", "payloadFormat", "responseTopic", "correlationData", "userProperties"]:
        assert message[member] == request[member], message
    assert 590 <= message["messageExpiryIntervalSeconds"] <= 600
    linked_cloud.aws("iot-data", "publish", "--topic", "plant/two", "--qos", "1", "--payload", "from the CLI")
    assert texts([stream.take()]) == ["from the CLI"]
    large = "x" * (128 * 1024)
    component.call("publish_to_iot_core", topicName="plant/large", qos="0", payload=payload(large))
    assert texts([stream.take()]) == [large]
    with pytest.raises(Refused) as refusal:
        component.call("publish_to_iot_core", topicName="plant/large", qos="1", payload=payload(large + "x"))
    assert refusal.value.kind == "ServiceError" and "131072" in refusal.value.message
    with pytest.raises(Refused) as refusal:
        component.stream("subscribe_to_iot_core", topicName="forbidden/#", qos="1")
    assert refusal.value.kind == "ServiceError" and "not authorized" in refusal.value.message, refusal.value.message


def statuses(stream, *wanted):
    for status in wanted:
        assert stream.take()["connectionStatusEvent"]["status"] == status


def test_subscriptions_and_offline_messages_survive_a_cloud_that_goes_away(linked_cloud, core):
    core.configure(linked_cloud.register(core.keys))
    core.start()
    connected(core)
    component = probe(core)
    status = component.stream("subscribe_to_iot_core_connection_status")
    statuses(status, "CONNECTED")
    stream = component.stream("subscribe_to_iot_core", topicName="order", qos="1")
    linked_cloud.stop()
    statuses(status, "DISCONNECTED")
    for number in range(50):
        component.call("publish_to_iot_core", topicName="order", qos="1", payload=payload(str(number)))
    with pytest.raises(Refused) as refusal:
        component.call("publish_to_iot_core", topicName="order", qos="0", payload=payload("lost"))
    assert "keepQos0WhenOffline" in refusal.value.message
    late = component.stream("subscribe_to_iot_core", topicName="late", qos="1")
    linked_cloud.start()
    statuses(status, "CONNECTED")
    seen = [texts([stream.take()])[0] for _ in range(50)]
    assert list(dict.fromkeys(seen)) == [str(n) for n in range(50)]
    component.call("publish_to_iot_core", topicName="late", qos="1", payload=payload("made while offline"))
    assert texts([late.take()]) == ["made while offline"]


def test_a_full_spool_is_told_and_one_on_disk_survives_a_kill(linked_cloud, core):
    configuration = linked_cloud.register(core.keys)
    nucleus(configuration)["mqtt"]["spooler"] = {"storageType": "Disk", "maxSizeInBytes": 20000, "keepQos0WhenOffline": True}
    core.configure(configuration)
    core.start()
    connected(core)
    component = probe(core)
    linked_cloud.stop()
    until(lambda: "no connection to the cloud" in core.log(), "the device has noticed")
    accepted = []
    with pytest.raises(Refused) as refusal:
        for number in range(1000):
            component.call("publish_to_iot_core", topicName="kept", qos="1" if number % 2 else "0", payload=payload(f"{number:0100}"))
            accepted.append(f"{number:0100}")
    assert refusal.value.kind == "ServiceError" and "spool is full" in refusal.value.message
    assert len(accepted) > 50
    core.kill()
    for pid, _ in core.survivors():
        os.kill(pid, signal.SIGKILL)
    linked_cloud.start()
    # Somebody else listens before the device is back.
    (core.root.parent / "other").mkdir()
    subscriber = Device(make_root(core.root.parent / "other"))
    try:
        file = core.root.parent / "other.json"
        file.write_text(json.dumps(linked_cloud.register(core.root.parent / "other-keys", "other-core")))
        subscriber.extra = ["--config", file]
        subscriber.start()
        connected(subscriber)
        stream = probe(subscriber).stream("subscribe_to_iot_core", topicName="kept", qos="1")
        core.start()
        seen = [texts([stream.take()])[0] for _ in accepted]
        assert list(dict.fromkeys(seen)) == accepted[:len(dict.fromkeys(seen))]
        while len(dict.fromkeys(seen)) < len(accepted):
            seen += texts([stream.take()])
        assert list(dict.fromkeys(seen)) == accepted
    finally:
        finish(subscriber)


def test_missing_files_are_named_and_waited_for(linked_cloud, core):
    configuration = linked_cloud.register(core.keys)
    for file, key in [("ca.pem", "rootCaPath"), ("cert.pem", "certificateFilePath"), ("key.pem", "privateKeyPath")]:
        (core.keys / file).rename(core.keys / f"{file}.away")
        core.configure(configuration)
        core.start()
        until(lambda key=key, file=file: re.search(f"no connection to the cloud: .*{key}.*{file}.*No such file", core.log()), f"{file} is named")
        (core.keys / f"{file}.away").rename(core.keys / file)
        connected(core)
        core.stop()


def test_a_device_without_endpoints_says_so_once_and_refuses_messages(core):
    core.start()
    component = probe(core)
    with pytest.raises(Refused) as refusal:
        component.call("publish_to_iot_core", topicName="t", qos="1", payload=payload("x"))
    assert "connect the device to AWS IoT Core" in refusal.value.message
    assert core.log().count("this device is on its own") == 1


SCRIPT = """
import boto3, json, os, sys, urllib.error, urllib.request
uri = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
def ask(token, path=uri, method="GET"):
    try:
        return urllib.request.urlopen(urllib.request.Request(path, headers={"Authorization": token}, method=method)).status
    except urllib.error.HTTPError as error:
        return error.code
own = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
print("codes", ask(own), ask("wrong"), ask(own, uri + "more"), ask(own, method="POST"), flush=True)
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
print("read", s3.get_object(Bucket="models", Key="one")["Body"].read().decode(), flush=True)
try:
    s3.put_object(Bucket="models", Key="two", Body=b"x")
except Exception as error:
    print("refused", type(error).__name__, error, flush=True)
"""


def test_boto3_in_a_component_reads_s3_with_the_devices_role(linked_cloud, core):
    configuration = linked_cloud.register(core.keys)
    linked_cloud.aws("s3api", "create-bucket", "--bucket", "models")
    linked_cloud.aws("s3", "cp", "-", "s3://models/one", stdin="weights")
    linked_cloud.role("reader", "models")
    nucleus(configuration).update({"iotCredEndpoint": f"127.0.0.1:{linked_cloud.fixed[3]}", "iotRoleAlias": "reader"})
    core.configure(configuration)
    core.start()
    name = "com.test.Boto"
    core.deploy(core.component(
        name, "1.0.0", {"read.py": SCRIPT}, ComponentDependencies={"aws.greengrass.TokenExchangeService": {"VersionRequirement": ">=2.0.0"}},
        Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": {
            "Run": f"exec {sys.executable} {{artifacts:path}}/read.py {linked_cloud.url}"}}]))
    log = core.root / "logs" / f"{name}.log"
    until(lambda: log.exists() and "refused" in log.read_text(), f"the component has run: {log}", 40)
    text = log.read_text()
    assert "codes 200 403 400 405" in text, text
    assert "read weights" in text and "AccessDenied" in text, text
    secret = linked_cloud.credentials()["AWS_SECRET_ACCESS_KEY"]
    assert secret not in core.log()

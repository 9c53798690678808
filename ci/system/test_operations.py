"""The other IPC operations through the official SDKs."""
import time

import pytest
from conftest import node_probe, python_probe
from device import Probe, Refused, allow

BOTH = pytest.mark.parametrize("make", [python_probe, node_probe], ids=["python", "node"])


@BOTH
def test_configuration_is_read_written_and_followed(device, make):
    name = "com.test.Config"
    start = {"mqtt": {"port": 8883, "hosts": ["a", "b"]}, "big": 9007199254740991, "text": "x", "none": None}
    device.deploy(make(device, name, configuration=start))
    probe = Probe(device, name)
    whole = probe.call("get_configuration", keyPath=[])
    assert whole["componentName"] == name
    assert whole["value"]["mqtt"] == start["mqtt"] and whole["value"]["big"] == start["big"]
    assert probe.call("get_configuration", keyPath=["mqtt", "port"])["value"] == {"port": 8883}
    stream = probe.stream("subscribe_to_configuration_update", keyPath=["mqtt"])
    now = time.time()
    probe.call("update_configuration", keyPath=["mqtt"], timestamp=now, valueToMerge={"port": 443})
    event = stream.take()["configurationUpdateEvent"]
    assert event["componentName"] == name and event["keyPath"][0] == "mqtt"
    assert probe.call("get_configuration", keyPath=["mqtt"])["value"] == {"port": 443, "hosts": ["a", "b"]}
    probe.call("update_configuration", keyPath=["mqtt"], timestamp=now + 1, valueToMerge={"port": 443})
    stream.quiet(0.3)  # nothing has changed
    with pytest.raises(Refused) as refusal:
        probe.call("update_configuration", keyPath=["mqtt"], timestamp=1.0, valueToMerge={"port": 1})
    assert refusal.value.kind == "FailedUpdateConditionCheckError"
    with pytest.raises(Refused) as refusal:
        probe.call("get_configuration", keyPath=["not", "there"])
    assert refusal.value.kind == "ResourceNotFoundError"
    with pytest.raises(Refused) as refusal:
        probe.call("get_configuration", componentName="com.test.Nobody", keyPath=[])
    assert refusal.value.kind == "ResourceNotFoundError"
    for path, value in [(["accessControl"], {}), ([], {"accessControl": {}})]:
        with pytest.raises(Refused) as refusal:
            probe.call("update_configuration", keyPath=path, timestamp=time.time(), valueToMerge=value)
        assert refusal.value.kind in ("InvalidArgumentsError", "UnauthorizedError")


def test_another_components_configuration_can_be_read_and_followed(device):
    device.deploy(python_probe(device, "com.test.Reader"), python_probe(device, "com.test.Owner", configuration={"k": 1}))
    reader, owner = Probe(device, "com.test.Reader"), Probe(device, "com.test.Owner")
    stream = reader.stream("subscribe_to_configuration_update", componentName="com.test.Owner", keyPath=["k"])
    owner.call("update_configuration", keyPath=[], timestamp=time.time(), valueToMerge={"k": 2})
    assert stream.take()["configurationUpdateEvent"]["componentName"] == "com.test.Owner"
    assert reader.call("get_configuration", componentName="com.test.Owner", keyPath=["k"])["value"] == {"k": 2}


def test_a_components_own_configuration_outlives_a_kill_and_gives_way_to_a_later_deployment(device):
    name = "com.test.Keep"
    device.deploy(python_probe(device, name, configuration={"v": 1, "w": 1}))
    Probe(device, name).call("update_configuration", keyPath=[], timestamp=time.time(), valueToMerge={"v": 2})
    device.kill()
    device.start()
    device.wait_state(name, "RUNNING")
    assert device.json("component", "details", "-n", name)["configuration"] == {"v": 2, "w": 1}
    device.deploy(update={name: {"MERGE": {"w": 3}}})
    assert device.json("component", "details", "-n", name)["configuration"] == {"v": 2, "w": 3}
    device.deploy(update={name: {"RESET": ["/v"]}})
    assert device.json("component", "details", "-n", name)["configuration"] == {"v": 1, "w": 3}


@BOTH
def test_state_is_reported_by_a_startup_script(device, make):
    name = "com.test.State"
    device.deploy(make(device, name))
    probe = Probe(device, name)
    probe.call("update_state", state="RUNNING")
    before = probe.about()["pid"] if make is python_probe else None
    probe.call("update_state", state="ERRORED")
    device.wait_log(name, "probe ready", count=2)  # it was restarted
    again = Probe(device, name)
    if before:
        assert again.about()["pid"] != before


@BOTH
def test_components_are_listed_and_controlled_by_those_who_may(device, make):
    device.deploy(
        make(device, "com.test.Boss", access={
            **allow("com.test.Boss", "aws.greengrass.Cli"),
            **allow("com.test.Boss", "aws.greengrass.ipc.lifecycle", resources=["com.test.Worker"])}),
        device.shell("com.test.Worker", Run="echo worker runs; exec sleep 1000"))
    boss = Probe(device, "com.test.Boss")
    device.wait_log("com.test.Worker", "worker runs")
    names = {c["componentName"]: c for c in boss.call("list_components")["components"]}
    assert names["com.test.Worker"]["state"] == "RUNNING" and names["com.test.Worker"]["version"] == "1.0.0"
    details = boss.call("get_component_details", componentName="com.test.Worker")["componentDetails"]
    assert details["state"] == "RUNNING"
    assert boss.call("restart_component", componentName="com.test.Worker")["restartStatus"] == "SUCCEEDED"
    device.wait_log("com.test.Worker", "worker runs", count=2)
    boss.call("pause_component", componentName="com.test.Worker")
    boss.call("resume_component", componentName="com.test.Worker")
    assert boss.call("stop_component", componentName="com.test.Worker")["stopStatus"] == "SUCCEEDED"
    device.wait_state("com.test.Worker", "FINISHED")
    for call, kind in [("get_component_details", "ResourceNotFoundError"), ("restart_component", "ComponentNotFoundError")]:
        with pytest.raises(Refused) as refusal:
            boss.call(call, componentName="com.test.Nobody")
        assert refusal.value.kind == kind


@BOTH
def test_a_stranger_controls_nothing(device, make):
    device.deploy(make(device, "com.test.Stranger"))
    stranger = Probe(device, "com.test.Stranger")
    denied = {"UnauthorizedError", "ServiceError"}
    for call, arguments in [
        ("pause_component", {"componentName": "com.test.Stranger"}),
        ("list_components", {}),
        ("restart_component", {"componentName": "com.test.Stranger"}),
        ("create_local_deployment", {"rootComponentsToRemove": ["com.test.Stranger"]}),
        ("list_local_deployments", {}),
        ("put_component_metric", {"metrics": [{"name": "n", "unit": "COUNT", "value": 1.0}]}),
    ]:
        with pytest.raises(Refused) as refusal:
            stranger.call(call, **arguments)
        # The JavaScript SDK hides an error that the operation does not declare, and only names its shape.
        assert refusal.value.kind in denied or "UnauthorizedError" in refusal.value.message, call
    assert device.state("com.test.Stranger") == "RUNNING"


@BOTH
def test_deployments_are_created_followed_and_cancelled_over_ipc(device, make):
    device.deploy(make(device, "com.test.Deployer", access=allow("com.test.Deployer", "aws.greengrass.Cli")))
    deployer = Probe(device, "com.test.Deployer")
    device.shell("com.test.Made", Run="exec sleep 1000")
    folders = {"recipeDirectoryPath": str(device.sources / "recipes"), "artifactsDirectoryPath": str(device.sources / "artifacts")}
    created = deployer.call("create_local_deployment", rootComponentVersionsToAdd={"com.test.Made": "1.0.0"}, **folders)
    report = device.finished(created["deploymentId"])
    assert report["status"] == "SUCCEEDED"
    status = deployer.call("get_local_deployment_status", deploymentId=created["deploymentId"])["deployment"]
    assert status["status"] == "SUCCEEDED"
    listed = {d["deploymentId"] for d in deployer.call("list_local_deployments")["localDeployments"]}
    assert created["deploymentId"] in listed
    with pytest.raises(Refused) as refusal:
        deployer.call("create_local_deployment", rootComponentVersionsToAdd={"com.test.Made": "1.0.0"}, recipeDirectoryPath="/nowhere")
    assert refusal.value.kind == "InvalidRecipeDirectoryPathError"
    with pytest.raises(Refused) as refusal:
        deployer.call("create_local_deployment", rootComponentVersionsToAdd={"com.test.Made": "1.0.0"}, artifactsDirectoryPath="/nowhere")
    assert refusal.value.kind == "InvalidArtifactsDirectoryPathError"
    with pytest.raises(Refused) as refusal:
        deployer.call("create_local_deployment")
    assert refusal.value.kind == "InvalidArgumentsError"
    for call in ["get_local_deployment_status", "cancel_local_deployment"]:
        with pytest.raises(Refused) as refusal:
            deployer.call(call, deploymentId="00000000-0000-0000-0000-000000000000")
        assert refusal.value.kind == "ResourceNotFoundError"
    device.shell("com.test.Slow", Startup={"Script": "sleep 1000", "Timeout": 900})
    slow = deployer.call("create_local_deployment", rootComponentVersionsToAdd={"com.test.Slow": "1.0.0"}, **folders)
    deployer.call("cancel_local_deployment", deploymentId=slow["deploymentId"])
    assert device.finished(slow["deploymentId"])["status"] == "CANCELED"


@BOTH
def test_a_configuration_is_validated_and_can_be_refused(device, make):
    name = "com.test.Validator"
    device.deploy(make(device, name, configuration={"level": 1}))
    probe = Probe(device, name)
    stream = probe.stream("subscribe_to_validate_configuration_updates")

    def update(value, verdict):
        identifier = device.deploy(update={name: {"MERGE": {"level": value}}}, wait=False)
        event = stream.take()["validateConfigurationUpdateEvent"]
        assert event["deploymentId"] == identifier and event["configuration"]["level"] == value
        probe.call("send_configuration_validity_report", configurationValidityReport={
            "status": verdict, "deploymentId": identifier, "message": "level is wrong"})
        return device.finished(identifier)

    assert update(2, "ACCEPTED")["status"] == "SUCCEEDED"
    refused = update(99, "REJECTED")
    assert refused["status"] == "FAILED" and "level is wrong" in str(refused)
    assert probe.call("get_configuration", keyPath=["level"])["value"] == {"level": 2}


@BOTH
def test_a_component_that_others_serve_can_check_their_tokens(device, make):
    device.deploy(
        make(device, "aws.greengrass.StreamManager"), make(device, "com.test.Plain"),
        device.shell("com.test.Token", Run="echo token $SVCUID.; exec sleep 1000"))
    device.wait_log("com.test.Token", "token ")
    token = device.component_log("com.test.Token").split("token ")[1].split(".")[0]
    manager = Probe(device, "aws.greengrass.StreamManager")
    assert manager.call("validate_authorization_token", token=token)["isValid"] is True
    with pytest.raises(Refused) as refusal:
        manager.call("validate_authorization_token", token="0000000000000000")
    assert refusal.value.kind == "InvalidTokenError"
    with pytest.raises(Refused) as refusal:
        Probe(device, "com.test.Plain").call("validate_authorization_token", token=token)
    assert refusal.value.kind == "UnauthorizedError"


@BOTH
def test_metrics_are_taken_from_those_who_may(device, make):
    name = "com.test.Metrics"
    access = allow(name, "aws.greengrass.ipc.componentmetric", ["aws.greengrass#PutComponentMetric"], [name])
    device.deploy(make(device, name, access=access))
    probe = Probe(device, name)
    probe.call("put_component_metric", metrics=[{"name": "BytesPerSecond", "unit": "BYTES_PER_SECOND", "value": 3.5}])
    for bad in [[], [{"name": "", "unit": "COUNT", "value": 1.0}], [{"name": "n", "unit": "FURLONGS", "value": 1.0}]]:
        with pytest.raises(Refused) as refusal:
            probe.call("put_component_metric", metrics=bad)
        assert refusal.value.kind == "InvalidArgumentsError"


# What needs a feature that is not there yet says which, with an error that the operation's model knows.
ABSENT = [
    ("get_secret_value", {"secretId": "s"}, "aws.greengrass.SecretManager"),
    ("get_thing_shadow", {"thingName": "t"}, "aws.greengrass.ShadowManager"),
    ("update_thing_shadow", {"thingName": "t", "payload": "e30="}, "aws.greengrass.ShadowManager"),
    ("delete_thing_shadow", {"thingName": "t"}, "aws.greengrass.ShadowManager"),
    ("list_named_shadows_for_thing", {"thingName": "t"}, "aws.greengrass.ShadowManager"),
    ("verify_client_device_identity", {"credential": {"clientDeviceCertificate": "x"}}, "aws.greengrass.clientdevices.Auth"),
    ("get_client_device_auth_token", {"credential": {"mqttCredential": {"clientId": "c"}}}, "aws.greengrass.clientdevices.Auth"),
    ("authorize_client_device_action", {"clientDeviceAuthToken": "t", "operation": "o", "resource": "r"}, "aws.greengrass.clientdevices.Auth"),
    ("create_debug_password", {}, None),
    ("publish_to_iot_core", {"topicName": "t", "qos": "1", "payload": "e30="}, None),
]


@BOTH
def test_an_operation_whose_feature_is_absent_says_so(device, make):
    name = "com.test.Absent"
    services = ["aws.greengrass.SecretManager", "aws.greengrass.ShadowManager", "aws.greengrass.clientdevices.Auth",
                "aws.greengrass.Cli", "aws.greengrass.ipc.mqttproxy"]
    access = {}
    for service in services:
        access.update(allow(name, service))
    device.deploy(make(device, name, access=access))
    probe = Probe(device, name)
    for call, arguments, component in ABSENT:
        with pytest.raises(Refused) as refusal:
            probe.call(call, **arguments)
        assert refusal.value.kind == "ServiceError", f"{call}: {refusal.value}"
        assert not component or component in refusal.value.message, refusal.value.message

"""First boot by claim: the real device program against greengrass-cloud, with the AWS CLI as the person in the factory."""
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import ssl
import stat
import subprocess
import threading
import time

import pytest
from cloud import Cloud
from device import BINARY, Device, finish, make_root, until

TEMPLATE = {
    "Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
    "DeviceConfiguration": {"site": "north"},
    "Resources": {
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "Device"}},
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {
            "ThingName": {"Fn::Join": ["", ["gateway-", {"Ref": "SerialNumber"}]]}, "ThingGroups": ["line"]}}}}
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
TOPICS = ["certificates/create/*", "certificates/create-from-csr/*", "provisioning-templates/Fleet/provision/*"]
PIN = "PIN-7351-device"
SOFTHSM = next((p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so") if pathlib.Path(p).exists()), None)


def claim_policy(cloud):
    """What AWS's guide lets a claim do, and no more."""
    arn = f"arn:aws:iot:{cloud.credentials()['AWS_DEFAULT_REGION']}:{cloud.account()}"

    def topics(kind):
        return [f"{arn}:{kind}/$aws/{topic}" for topic in TOPICS]
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
        {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": topics("topic")},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": topics("topicfilter")}]}


class Factory:
    """A template, a role and a claim, made by the AWS CLI."""

    def __init__(self, cloud, hook=None):
        self.cloud = cloud
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        role = cloud.json("iam", "create-role", "--role-name", "Provisioning", "--assume-role-policy-document", json.dumps(trust))
        cloud.aws("iot", "create-thing-group", "--thing-group-name", "line")
        cloud.aws("iot", "create-policy", "--policy-name", "Device", "--policy-document", json.dumps(ALL))
        more = ["--pre-provisioning-hook", json.dumps({"targetArn": hook})] if hook else []
        cloud.aws("iot", "create-provisioning-template", "--template-name", "Fleet", "--enabled",
                  "--provisioning-role-arn", role["Role"]["Arn"], "--template-body", json.dumps(TEMPLATE), *more)
        cloud.aws("iot", "create-policy", "--policy-name", "Claim", "--policy-document", json.dumps(claim_policy(cloud)))
        self.certificate, self.key = cloud.folder / "claim.pem", cloud.folder / "claim.key"
        made = cloud.json("iot", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", self.certificate,
                          "--private-key-outfile", self.key)
        self.key.chmod(0o600)
        self.claim = made["certificateId"]
        cloud.aws("iot", "attach-policy", "--policy-name", "Claim", "--target", made["certificateArn"])

    @property
    def address(self):
        found = re.search(r"MQTT +([^:\s]+):(\d+)", self.cloud.output.read_text())
        return found[1], found[2]

    def settings(self, **more):
        """The configuration of aws.greengrass.FleetProvisioningByClaim."""
        host, port = self.address
        return {"provisioningTemplate": "Fleet", "claimCertificatePath": str(self.certificate),
                "claimCertificatePrivateKeyPath": str(self.key), "rootCaPath": str(self.cloud.ca), "iotDataEndpoint": host,
                "mqttPort": port, "iotRoleAlias": "Alias", "awsRegion": "eu-west-1", "iotCredentialEndpoint": host,
                "templateParameters": {"SerialNumber": "0042"}, "csrCommonName": "gateway", **more}

    def things(self):
        return [thing["thingName"] for thing in self.cloud.json("iot", "list-things")["things"]]

    def certificates(self):
        """The active ones, but for the claim."""
        listed = self.cloud.json("iot", "list-certificates")["certificates"]
        return [c["certificateId"] for c in listed if c["status"] == "ACTIVE" and c["certificateId"] != self.claim]


class Blank(Device):
    """A device as it leaves the flashing station."""

    def __init__(self, tmp_path, settings, section="aws.greengrass.FleetProvisioningByClaim"):
        super().__init__(make_root(tmp_path))
        self.file = tmp_path / "first-boot.yaml"
        self.section = section
        self.configure(settings)

    def configure(self, settings):
        self.file.write_text(json.dumps({"services": {self.section: {"configuration": settings}}}))
        self.extra = ["--config", str(self.file), "--config-folder", str(self.file.parent / "none")]

    def provision(self, word, *more, check=True, environment=None, timeout=60):
        command = [BINARY, "provision", word, "--root", self.root, *self.extra, *map(str, more)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                                env={**os.environ, **self.environment, **(environment or {})})
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def run(self, *more, **options):
        return self.provision("run", "--timeout", "30", *more, **options)

    def status(self):
        return json.loads(self.provision("status", "-o", "json").stdout)

    def identity(self):
        return json.loads((self.root / "config/identity.json").read_text())

    def everything(self):
        """Every file of the device, and what its programs have said."""
        return [p for p in self.root.rglob("*") if p.is_file()]


@pytest.fixture
def factory(cloud):
    return Factory(cloud)


def blank(tmp_path, settings, **more):
    return Blank(tmp_path / "device", settings, **more)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "device").mkdir()
    return tmp_path


def connects(factory, certificate, key):
    """Whether greengrass-cloud takes the device's own certificate for TLS."""
    host, port = factory.address
    context = ssl.create_default_context(cafile=factory.cloud.ca)
    context.load_cert_chain(certificate, key)
    import socket
    with socket.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(plain, server_hostname=host) as stream:
        stream.settimeout(10)
        # CONNECT of MQTT 3.1.1, client id "t", clean session.
        stream.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01t")
        return stream.recv(4) == b"\x20\x02\x00\x00"


def check_provisioned(factory, device, things=("gateway-0042",)):
    status = device.status()
    assert status["state"] == "PROVISIONED" and status["thingName"] == things[0], status
    assert status["deviceConfiguration"] == {"site": "north"}
    assert factory.things() == list(things)
    assert factory.certificates() == [status["certificateId"]], "no certificate is active that no device has"
    attached = factory.cloud.json("iot", "list-thing-principals", "--thing-name", things[0])["principals"]
    assert len(attached) == 1 and attached[0].endswith(status["certificateId"])
    return device.identity()["system"]


def test_a_device_makes_its_key_in_a_file_and_gets_its_certificate_and_thing(factory, place):
    device = blank(place, factory.settings())
    assert device.status() == {"state": "NOT_STARTED"}
    found = json.loads(device.provision("check", "-o", "json").stdout)
    assert all(part["ok"] for part in found.values()) and "SerialNumber=0042" in found["parameters"]["found"]
    assert not (device.root / "credentials").exists(), "a check changes nothing"
    device.run()
    system = check_provisioned(factory, device)
    key = pathlib.Path(system["privateKeyPath"])
    assert key == device.root / "credentials/private.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert connects(factory, system["certificateFilePath"], key)
    nucleus = device.identity()["services"]["aws.greengrass.Nucleus"]["configuration"]
    assert nucleus["iotRoleAlias"] == "Alias" and nucleus["awsRegion"] == "eu-west-1"
    assert (nucleus["iotDataEndpoint"], str(nucleus["mqtt"]["port"])) == factory.address
    # Once is enough, and what came out can be checked.
    before = device.identity()
    device.run()
    assert device.identity() == before and len(factory.certificates()) == 1
    text = device.provision("check").stdout
    assert "WRONG" not in text and re.search(r"certificate +ok .*until", text)


def test_the_cloud_makes_the_key_as_classics_plugin_has_it_by_default(factory, place):
    settings = factory.settings(rootPath=str(place / "device/own"))
    del settings["csrCommonName"]
    device = blank(place, settings)
    device.run()
    system = check_provisioned(factory, device)
    assert system["privateKeyPath"] == str(place / "device/own/privKey.key")
    assert stat.S_IMODE(os.stat(system["privateKeyPath"]).st_mode) == 0o600
    assert connects(factory, system["certificateFilePath"], system["privateKeyPath"])


def test_nucleus_lites_settings_and_a_serial_number_from_a_program_and_a_file(factory, place):
    serial = place / "serial"
    serial.write_text("77\0\n")
    full = factory.settings()
    device = blank(place, {
        "iotDataEndpoint": full["iotDataEndpoint"], "mqttPort": full["mqttPort"], "rootCaPath": full["rootCaPath"],
        "claimKeyPath": full["claimCertificatePrivateKeyPath"], "claimCertPath": full["claimCertificatePath"], "templateName": "Fleet",
        "templateParams": {"SerialNumber": f"{{command:/bin/echo A}}-{{file:{serial}}}"}}, section="aws.greengrass.fleet_provisioning")
    device.run()
    system = check_provisioned(factory, device, things=("gateway-A-77",))
    assert system["thingName"] == "gateway-A-77"


def test_a_request_that_was_made_elsewhere_is_sent_as_it_is(factory, place):
    key, request = place / "own.key", place / "own.csr"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=made-elsewhere",
                    "-keyout", key, "-out", request], check=True, capture_output=True)
    key.chmod(0o600)
    device = blank(place, factory.settings(csrPath=str(request), csrPrivateKeyPath=str(key)))
    device.run()
    system = check_provisioned(factory, device)
    assert system["privateKeyPath"] == str(key) and connects(factory, system["certificateFilePath"], key)


@pytest.mark.skipif(not shutil.which("swtpm") or not shutil.which("tpm2_createek"), reason="swtpm or tpm2-tools is not installed")
def test_the_serial_number_may_be_the_hash_of_the_tpms_endorsement_key(factory, place):
    (place / "tpm").mkdir()
    socket = place / "tpm/socket"

    def start():
        socket.unlink(missing_ok=True)
        tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={place / 'tpm'}", "--server", f"type=unixio,path={socket}",
                                "--ctrl", f"type=unixio,path={socket}.ctrl", "--flags", "not-need-init,startup-clear"])
        until(socket.exists, "swtpm listens")
        return tpm

    def stop(tpm):
        tpm.terminate()
        tpm.wait(10)
    tpm = start()
    try:
        device = blank(place, factory.settings(templateParameters={"SerialNumber": "{tpm:ek}"}))
        device.environment = {"TPM2_PKCS11_TCTI": f"swtpm:path={socket}"}
        device.run()
        name = device.status()["thingName"]
        stop(tpm)
        tpm = start()
        # The tools of the TPM's own people say the same.
        subprocess.run(["tpm2_createek", "-c", place / "ek.ctx", "-G", "rsa", "-u", place / "ek.pem", "-f", "pem"], check=True,
                       capture_output=True, env={**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={socket}"})
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", place / "ek.pem", "-outform", "DER"], check=True, capture_output=True).stdout
        assert name == f"gateway-{hashlib.sha256(der).hexdigest()}"
    finally:
        stop(tpm)


def soft_token(place):
    """A token of SoftHSM; the environment in which it is found, and the key's URI."""
    if not SOFTHSM or not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM is not installed (softhsm2)")
    (place / "tokens").mkdir()
    (place / "softhsm2.conf").write_text(f"directories.tokendir = {place / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    (place / "pin").write_text(PIN)
    (place / "pin").chmod(0o600)
    environment = {"SOFTHSM2_CONF": str(place / "softhsm2.conf")}
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "greengrass", "--pin", PIN, "--so-pin", "PIN-1357-officer"],
                   check=True, capture_output=True, env={**os.environ, **environment})
    return environment, f"pkcs11:token=greengrass;object=device?module-path={SOFTHSM}&pin-source=file:{place / 'pin'}"


def test_a_key_in_a_token_never_leaves_it(factory, place):
    environment, uri = soft_token(place)
    device = blank(place, factory.settings(privateKeyPath=uri))
    device.environment = environment
    (place / "pin").write_text("PIN-0000-wrong")
    refused = device.provision("check", check=False)
    assert refused.returncode == 1 and "PIN" in refused.stdout and "PIN-0000" not in refused.stdout + refused.stderr
    (place / "pin").write_text(PIN)
    device.run()
    system = check_provisioned(factory, device)
    assert system["privateKeyPath"] == uri
    assert "WRONG" not in device.provision("check").stdout, "the certificate is for the token's key"
    listed = subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--login", "--pin", PIN, "--list-objects", "--type", "privkey"],
                            capture_output=True, text=True, env={**os.environ, **environment})
    if listed.returncode == 0:
        assert listed.stdout.count("label:") == 1 and "never extractable" in listed.stdout
    for file in device.everything():
        content = file.read_bytes()
        assert b"PRIVATE KEY" not in content and PIN.encode() not in content, file


def test_a_nucleus_without_identity_gets_one_and_goes_on_without_a_restart(factory, place):
    device = blank(place, factory.settings())
    factory.cloud.stop()  # the device is up before its cloud
    device.start()
    try:
        until(lambda: "failure" in device.status(), "the device says why it is not provisioned")
        assert "claim certificate" in device.status()["failure"]
        pid = device.process.pid
        _, port = factory.address
        mqtt = Cloud.ports().index("--listen-mqtt") + 1
        factory.cloud.ports = lambda: [w if w != "127.0.0.1:0" or n != mqtt else f"127.0.0.1:{port}" for n, w in enumerate(Cloud.ports())]
        factory.cloud.start()
        until(lambda: device.status()["state"] == "PROVISIONED", f"provisioned {device.log()[-2000:]}", 60)
        until(lambda: "this device is gateway-0042" in everything(device), "the nucleus knows its name")
        assert device.process.pid == pid and device.process.poll() is None
        check_provisioned(factory, device)
        # Components from now on are told the name, and after a restart all is as it was.
        device.deploy(device.shell("com.test.Name", Run="echo I am $AWS_IOT_THING_NAME; sleep 4321"))
        device.wait_log("com.test.Name", "I am gateway-0042")
        device.stop()
        device.start()
        device.wait_log("com.test.Name", "I am gateway-0042", count=2)
        check_provisioned(factory, device)
    finally:
        finish(device)


def everything(device):
    """All that the nucleus has logged, wherever it goes."""
    return device.log() + "".join(p.read_text(errors="replace") for p in (device.root / "logs").glob("greengrass*.log"))


def has_crash_points(device):
    died = device.provision("run", "--timeout", "1", check=False, environment={"GREENGRASS_CRASH_AT": "file.fsync.before:1"})
    return died.returncode == -signal.SIGABRT


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["own key", "key from the cloud", "key in a token"])
def test_a_power_cut_before_and_after_every_write_makes_no_second_thing(factory, place, way):
    settings = factory.settings()
    environment = {}
    if way == "key from the cloud":
        del settings["csrCommonName"]
    if way == "key in a token":
        environment, settings["privateKeyPath"] = soft_token(place)
    device = blank(place, settings)
    device.environment = environment
    if not has_crash_points(device):
        pytest.skip("the program was built without the feature crash-points")
    things, cuts = [], 0
    for point in ("file.rename.before", "file.rename.after"):
        for passage in range(1, 100):
            serial = f"{point[-5:].strip('.')}-{passage}"
            shutil.rmtree(device.root)
            settings["templateParameters"] = {"SerialNumber": serial}
            if way == "key in a token":
                settings["privateKeyPath"] = re.sub(r"object=[^?]*", f"object={serial}", settings["privateKeyPath"])
            device.configure(settings)
            first = device.run(check=False, environment={"GREENGRASS_CRASH_AT": f"{point}:{passage}"})
            if first.returncode == 0:
                break
            assert first.returncode == -signal.SIGABRT, first.stderr
            cuts += 1
            device.run()
            things.append(f"gateway-{serial}")
            status = device.status()
            assert status["state"] == "PROVISIONED" and status["thingName"] == things[-1]
            assert "WRONG" not in device.provision("check").stdout
        things.append(f"gateway-{serial}")
    assert cuts >= 10, "the power was hardly ever cut"
    assert sorted(factory.things()) == sorted(things)
    # One active certificate for each thing: what a cut left behind was never activated.
    assert len(factory.certificates()) == len(things)
    for thing in things:
        assert len(factory.cloud.json("iot", "list-thing-principals", "--thing-name", thing)["principals"]) == 1


@pytest.mark.timeout(600)
def test_kills_at_random_moments_make_no_second_thing(factory, place):
    chance = random.Random(6)
    device = blank(place, factory.settings())
    began = time.monotonic()
    device.run()
    whole = time.monotonic() - began
    things = ["gateway-0042"]
    for number in range(15):
        shutil.rmtree(device.root)
        device.configure(factory.settings(templateParameters={"SerialNumber": str(number)}))
        things.append(f"gateway-{number}")
        while True:
            working = subprocess.Popen([BINARY, "provision", "run", "--root", device.root, *device.extra],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                working.wait(chance.uniform(0.02, whole * 1.3))
            except subprocess.TimeoutExpired:
                working.kill()
                working.wait(10)
                continue
            break
        assert working.returncode == 0
        assert device.status()["thingName"] == things[-1]
    assert sorted(factory.things()) == sorted(things)
    assert len(factory.certificates()) == len(things)


class Hook(http.server.BaseHTTPRequestHandler):
    """A pre-provisioning hook that knows some serial numbers."""
    known = set()
    asked = []

    def do_POST(self):  # noqa: N802 (the library's name)
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(question)
        allowed = question["parameters"]["SerialNumber"] in self.known
        body = json.dumps({"allowProvisioning": allowed}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    Hook.known, Hook.asked = set(), []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()


def test_a_device_that_the_hook_denies_asks_again_until_it_is_known(cloud, place, hook):
    factory = Factory(cloud, hook=hook)
    device = blank(place, factory.settings())
    denied = device.provision("run", "--timeout", "3", check=False)
    assert denied.returncode == 1 and "AccessDenied" in denied.stderr and "hook denied" in denied.stderr
    status = device.status()
    assert status["state"] == "REGISTERING_THING" and "AccessDenied" in status["failure"] and status["againInSeconds"] <= 3600
    assert len(Hook.asked) >= 2, "it asks again by itself"
    assert factory.things() == [] and factory.certificates() == []
    Hook.known.add("0042")
    device.run()
    check_provisioned(factory, device)
    assert len({question["certificateId"] for question in Hook.asked}) == 1, "one certificate, however often it was denied"


def trouble(device, *, secrets=()):
    """Runs for a while in vain; what people are told."""
    result = device.provision("run", "--timeout", "2", check=False)
    assert result.returncode == 1, result.stdout
    said = result.stderr.strip().splitlines()[-1]
    assert device.status()["failure"] in said
    assert not any(secret in result.stdout + result.stderr for secret in secrets)
    return said


def test_what_is_wrong_with_a_claim_is_said_and_can_be_put_right(factory, place):
    device = blank(place, factory.settings())
    good = factory.settings()
    # A claim that somebody else signed.
    other = place / "other.pem", place / "other.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=stranger",
                    "-days", "2", "-keyout", other[1], "-out", other[0]], check=True, capture_output=True)
    other[1].chmod(0o600)
    device.configure({**good, "claimCertificatePath": str(other[0]), "claimCertificatePrivateKeyPath": str(other[1])})
    assert "with the claim certificate" in trouble(device)
    # A certificate with another's key, which is noticed before anything is sent.
    device.configure({**good, "claimCertificatePrivateKeyPath": str(other[1])})
    assert "is for another key" in trouble(device)
    assert device.provision("check", check=False).returncode == 1
    # Another's authority: the server is not who it should be.
    device.configure({**good, "rootCaPath": str(other[0])})
    assert "TLS with" in trouble(device)
    # A template that does not exist, for which the claim may not even ask.
    device.configure({**good, "provisioningTemplate": "None"})
    trouble(device)
    # The claim is withdrawn for a while.
    device.configure(good)
    factory.cloud.aws("iot", "update-certificate", "--certificate-id", factory.claim, "--new-status", "INACTIVE")
    assert "with the claim certificate" in trouble(device)
    assert factory.things() == []
    factory.cloud.aws("iot", "update-certificate", "--certificate-id", factory.claim, "--new-status", "ACTIVE")
    device.run()
    check_provisioned(factory, device)


def test_one_process_provisions_at_a_time_and_the_other_waits_for_it(factory, place):
    device = blank(place, factory.settings())
    command = [BINARY, "provision", "run", "--root", device.root, *device.extra]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    check_provisioned(factory, device)


def test_files_that_are_already_there_are_taken_as_they_are(factory, place):
    cloud = factory.cloud
    certificate, key = place / "own.pem", place / "own.key"
    cloud.aws("iot", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", certificate, "--private-key-outfile", key)
    key.chmod(0o600)
    device = blank(place, factory.settings())
    document = json.loads(device.file.read_text())
    document["system"] = {"thingName": "by-hand", "certificateFilePath": str(certificate), "privateKeyPath": str(key), "rootCaPath": str(cloud.ca)}
    device.file.write_text(json.dumps(document))
    assert device.status()["state"] == "CONFIGURED"
    device.run()
    assert factory.things() == [] and not (device.root / "config/identity.json").exists()
    assert "WRONG" not in device.provision("check").stdout
    document["system"]["privateKeyPath"] = str(factory.key)
    device.file.write_text(json.dumps(document))
    wrong = device.provision("check", check=False)
    assert wrong.returncode == 1 and "is for another key" in wrong.stdout


def test_the_command_lines_name_works_too_and_says_what_is_missing(place):
    device = Blank(place / "device", {"provisioningTemplate": "Fleet"})
    (place / "greengrass-cli").symlink_to(BINARY)
    words = [place / "greengrass-cli", "provision", "run", "--root", device.root, *device.extra]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 1 and "is missing" in result.stderr
    device.file.write_text("{}")
    assert device.status() == {"state": "NOT_CONFIGURED"}
    result = device.provision("run", check=False)
    assert result.returncode == 1 and "names neither an identity" in result.stderr

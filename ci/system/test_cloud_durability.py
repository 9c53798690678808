"""Nothing that greengrass-cloud has acknowledged is lost: kill -9, restart, backup, restore; and what it refuses to start on."""
import os
import stat
import subprocess
import tarfile
import threading

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from cloud import PROGRAM, Cloud


def test_a_restart_keeps_everything(cloud):
    account = cloud.account()
    cloud.client("s3").create_bucket(Bucket="artifacts")
    cloud.client("s3").put_object(Bucket="artifacts", Key="k", Body=b"kept")
    cloud.client("secretsmanager").create_secret(Name="s", SecretString="kept")
    before, ca = cloud.credentials(), cloud.ca.read_bytes()
    assert cloud.stop() == 0
    cloud.start()
    after = cloud.credentials()
    assert [before[k] == after[k] for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")] == [True, True]
    assert cloud.account() == account and cloud.ca.read_bytes() == ca
    assert cloud.client("s3").get_object(Bucket="artifacts", Key="k")["Body"].read() == b"kept"
    assert cloud.client("secretsmanager").get_secret_value(SecretId="s")["SecretString"] == "kept"


@pytest.mark.parametrize("round_", range(3))
def test_what_was_acknowledged_survives_kill_9_in_the_middle_of_writes(cloud, round_):
    cloud.client("s3").create_bucket(Bucket="artifacts")
    kept, enough, stop = {}, threading.Event(), threading.Event()

    def write(number):
        s3, secrets, turn = cloud.client("s3"), cloud.client("secretsmanager"), 0
        try:
            while not stop.is_set():
                key, body = f"{number}/{turn % 3}", os.urandom(50_000)
                # Unknown until it is acknowledged: either of both may be there.
                kept[key] = (kept.get(key, (None, None))[1], body)
                s3.put_object(Bucket="artifacts", Key=key, Body=body)
                kept[key] = (body, body)
                secrets.create_secret(Name=f"s{number}-{turn}", SecretString="x")
                kept[f"s{number}-{turn}"] = True
                turn += 1
                if turn > 5 + round_ * 3:
                    enough.set()
        except (BotoCoreError, ClientError):
            pass
    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for writer in writers:
        writer.start()
    assert enough.wait(30)
    cloud.kill()
    stop.set()
    for writer in writers:
        writer.join(30)
    cloud.start()
    s3, secrets = cloud.client("s3"), cloud.client("secretsmanager")
    for name, value in kept.items():
        if value is True:
            secrets.describe_secret(SecretId=name)
        elif value[0] is not None:
            assert s3.get_object(Bucket="artifacts", Key=name)["Body"].read() in value, name
    # Nothing is left of what was interrupted.
    files = [file for file in (cloud.data / "objects").rglob("*") if file.is_file()]
    assert len(files) == s3.list_objects_v2(Bucket="artifacts")["KeyCount"]


def test_a_backup_of_a_running_program_is_all_of_it_at_one_moment(cloud, tmp_path):
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="artifacts")
    bodies = {f"k{n}": os.urandom(200_000) for n in range(20)}
    for key, body in bodies.items():
        s3.put_object(Bucket="artifacts", Key=key, Body=body)
    stop = threading.Event()

    def churn():
        client, turn = cloud.client("s3"), 0
        while not stop.is_set():
            client.put_object(Bucket="artifacts", Key=f"new/{turn % 5}", Body=os.urandom(100_000))
            client.delete_object(Bucket="artifacts", Key=f"new/{(turn + 2) % 5}")
            turn += 1
    writer = threading.Thread(target=churn)
    writer.start()
    file = tmp_path / "backup.tar"
    try:
        for _ in range(3):
            file.unlink(missing_ok=True)
            cloud.command("backup", file)
    finally:
        stop.set()
        writer.join()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    refused = cloud.command("backup", file, check=False)
    assert refused.returncode != 0 and "is there already" in refused.stderr
    account, key = cloud.account(), cloud.credentials()["AWS_SECRET_ACCESS_KEY"]
    other = Cloud(tmp_path / "other")
    other.folder.mkdir()
    assert account in other.command("restore", file).stdout
    other.start()
    try:
        assert (other.account(), other.credentials()["AWS_SECRET_ACCESS_KEY"], other.ca.read_bytes()) == (account, key, cloud.ca.read_bytes())
        copy = other.client("s3")
        for name, body in bodies.items():
            assert copy.get_object(Bucket="artifacts", Key=name)["Body"].read() == body
        for found in copy.list_objects_v2(Bucket="artifacts", Prefix="new/").get("Contents", []):
            assert len(copy.get_object(Bucket="artifacts", Key=found["Key"])["Body"].read()) == 100_000
    finally:
        other.stop()
    refused = other.command("restore", file, check=False)
    assert refused.returncode != 0 and "not empty" in refused.stderr


def test_a_stopped_one_is_backed_up_too_and_a_torn_backup_is_refused(cloud, tmp_path):
    cloud.client("s3").create_bucket(Bucket="artifacts")
    cloud.client("s3").put_object(Bucket="artifacts", Key="k", Body=os.urandom(300_000))
    cloud.stop()
    file = tmp_path / "backup.tar"
    cloud.command("backup", file)
    whole = file.read_bytes()
    other = Cloud(tmp_path / "other")
    other.folder.mkdir()
    for cut in (100, len(whole) // 3, len(whole) - 200_000):
        torn = tmp_path / "torn.tar"
        torn.write_bytes(whole[:cut])
        assert other.command("restore", torn, check=False).returncode != 0
        assert not other.data.exists()
    evil = tmp_path / "evil.tar"
    with tarfile.open(file) as source, tarfile.open(evil, "w") as target:
        for member in source:
            target.addfile(member, source.extractfile(member))
        target.addfile(tarfile.TarInfo("../escaped"))
    refused = other.command("restore", evil, check=False)
    assert refused.returncode != 0 and not (tmp_path / "other" / "escaped").exists() and not (tmp_path / "escaped").exists()


def test_everything_secret_is_readable_by_its_owner_alone(cloud):
    cloud.client("s3").create_bucket(Bucket="artifacts")
    cloud.client("s3").put_object(Bucket="artifacts", Key="k", Body=b"x")
    assert stat.S_IMODE(cloud.data.stat().st_mode) == 0o700
    for path in cloud.data.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert path == cloud.ca or mode & 0o077 == 0, f"{path}: {mode:o}"


def serve(data, *arguments):
    return subprocess.run([PROGRAM, "serve", "--data", data, *Cloud.ports(), *arguments], capture_output=True, text=True, timeout=20)


def test_it_says_why_it_does_not_start(cloud, tmp_path):
    second = serve(cloud.data)
    assert second.returncode == 1 and "in use" in second.stderr
    cloud.stop()
    assert "us-east-1, not eu-west-1" in serve(cloud.data, "--region", "eu-west-1").stderr
    assert "12 digits" in serve(tmp_path / "new", "--account", "12").stderr
    refused = subprocess.run([PROGRAM, "serve", "--data", tmp_path / "x", "--listen-http", "0.0.0.0:0"], capture_output=True, text=True, timeout=20)
    assert refused.returncode == 1 and "not be encrypted" in refused.stderr
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o755)
    (foreign / "file").write_text("somebody's")
    assert "not empty" in serve(foreign).stderr and stat.S_IMODE(foreign.stat().st_mode) == 0o755
    assert "no data folder" in subprocess.run(
        [PROGRAM, "user", "list", "--data", tmp_path / "none"], capture_output=True, text=True, timeout=20).stderr


def test_region_and_account_are_what_the_first_start_says(stopped_cloud):
    stopped_cloud.start("--region", "eu-central-1", "--account", "123456789012")
    assert stopped_cloud.json("sts", "get-caller-identity")["Arn"] == "arn:aws:iam::123456789012:user/admin"
    assert stopped_cloud.credentials()["AWS_DEFAULT_REGION"] == "eu-central-1"
    stopped_cloud.aws("s3", "mb", "s3://artifacts")
    assert stopped_cloud.json("s3api", "get-bucket-location", "--bucket", "artifacts")["LocationConstraint"] == "eu-central-1"
    arn = stopped_cloud.json("secretsmanager", "create-secret", "--name", "s", "--secret-string", "x")["ARN"]
    assert arn.startswith("arn:aws:secretsmanager:eu-central-1:123456789012:")

"""Artifacts: the S3 of greengrass-cloud by the AWS CLI and boto3."""
import hashlib
import os
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1024 * 1024
ODD = ["plain", "with space", "plus+plus", "per%cent%20", "a&b=c;d?e#f", "é/ü/日本", "quote'\"", "dots/../up", "double//slash", "trailing/", "~-_.!*()"]


def code(excinfo):
    return excinfo.value.response["Error"]["Code"]


def fetch(url, method="GET", data=None, headers=None):
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def s3(cloud):
    client = cloud.client("s3")
    client.create_bucket(Bucket="artifacts")
    return client


def test_the_aws_cli_copies_lists_moves_syncs_and_removes(cloud):
    folder = cloud.folder / "tree"
    (folder / "deep").mkdir(parents=True)
    (folder / "small file+1%.txt").write_text("small")
    big = os.urandom(20 * MIB + 7)
    (folder / "deep" / "big").write_bytes(big)
    cloud.aws("s3", "mb", "s3://artifacts")
    cloud.aws("s3", "cp", folder / "small file+1%.txt", "s3://artifacts/one/")
    assert cloud.aws("s3", "cp", "s3://artifacts/one/small file+1%.txt", "-").stdout == "small"
    cloud.aws("s3", "sync", folder, "s3://artifacts/tree")
    listed = cloud.aws("s3", "ls", "s3://artifacts", "--recursive").stdout
    assert [line.split(None, 3)[3] for line in listed.splitlines()] == ["one/small file+1%.txt", "tree/deep/big", "tree/small file+1%.txt"]
    assert cloud.aws("s3", "ls", "s3://artifacts/").stdout.split() == ["PRE", "one/", "PRE", "tree/"]
    head = cloud.json("s3api", "head-object", "--bucket", "artifacts", "--key", "tree/deep/big")
    assert head["ETag"].endswith('-3"') and head["ContentLength"] == len(big)
    cloud.aws("s3", "mv", "s3://artifacts/tree/deep/big", "s3://artifacts/moved")
    cloud.aws("s3", "cp", "s3://artifacts/moved", cloud.folder / "back")
    assert (cloud.folder / "back").read_bytes() == big
    assert "BucketNotEmpty" in cloud.aws("s3", "rb", "s3://artifacts", check=False).stderr
    cloud.aws("s3", "rm", "--recursive", "s3://artifacts")
    cloud.aws("s3", "rb", "s3://artifacts")
    assert cloud.aws("s3", "ls").stdout == ""
    # What has been removed takes no room.
    assert not [file for file in (cloud.data / "objects").rglob("*") if file.is_file()]


def test_over_https_the_cli_sends_checksums_in_trailers(cloud):
    (cloud.folder / "file").write_bytes(os.urandom(100_000))
    tls = {"AWS_ENDPOINT_URL": cloud.https, "AWS_CA_BUNDLE": str(cloud.ca)}
    cloud.aws("s3", "mb", "s3://artifacts", environment=tls)
    cloud.aws("s3", "cp", "file", "s3://artifacts/file", environment=tls)
    cloud.aws("s3", "cp", "s3://artifacts/file", "back", environment=tls)
    assert (cloud.folder / "back").read_bytes() == (cloud.folder / "file").read_bytes()
    assert "ContentEncoding" not in cloud.json("s3api", "head-object", "--bucket", "artifacts", "--key", "file")


@pytest.mark.parametrize("key", ODD)
def test_a_key_may_be_any_text(s3, key):
    s3.put_object(Bucket="artifacts", Key=key, Body=key.encode())
    assert s3.get_object(Bucket="artifacts", Key=key)["Body"].read() == key.encode()
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="artifacts")["Contents"]] == [key]
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "artifacts", "Key": key})
    assert fetch(url) == (200, key.encode())
    s3.copy_object(Bucket="artifacts", Key="copy", CopySource={"Bucket": "artifacts", "Key": key})
    s3.delete_object(Bucket="artifacts", Key=key)
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="artifacts")["Contents"]] == ["copy"]


def test_an_object_keeps_what_was_said_of_it(s3):
    put = s3.put_object(
        Bucket="artifacts", Key="k", Body=b"body", ContentType="text/x", CacheControl="no-store", ContentDisposition="inline",
        ContentLanguage="de", Metadata={"one": "1", "two": "zwei"}, ChecksumAlgorithm="SHA256")
    assert put["ETag"] == f'"{hashlib.md5(b"body").hexdigest()}"' and put["ChecksumSHA256"]
    head = s3.head_object(Bucket="artifacts", Key="k", ChecksumMode="ENABLED")
    assert head["ContentType"] == "text/x" and head["Metadata"] == {"one": "1", "two": "zwei"} and head["ContentLanguage"] == "de"
    assert head["ChecksumSHA256"] == put["ChecksumSHA256"]
    s3.copy_object(Bucket="artifacts", Key="c", CopySource="artifacts/k", MetadataDirective="REPLACE", Metadata={"three": "3"})
    assert s3.head_object(Bucket="artifacts", Key="c")["Metadata"] == {"three": "3"}


def test_ranges_and_conditions(s3):
    etag = s3.put_object(Bucket="artifacts", Key="k", Body=b"0123456789")["ETag"]
    part = s3.get_object(Bucket="artifacts", Key="k", Range="bytes=2-4")
    assert (part["Body"].read(), part["ContentRange"], part["ResponseMetadata"]["HTTPStatusCode"]) == (b"234", "bytes 2-4/10", 206)
    assert s3.get_object(Bucket="artifacts", Key="k", Range="bytes=-3")["Body"].read() == b"789"
    assert s3.get_object(Bucket="artifacts", Key="k", Range="bytes=7-")["Body"].read() == b"789"
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket="artifacts", Key="k", Range="bytes=10-")
    assert code(refused) == "InvalidRange"
    for conditions, expected in (({"IfNoneMatch": etag}, "304"), ({"IfMatch": '"other"'}, "PreconditionFailed")):
        with pytest.raises(ClientError) as refused:
            s3.get_object(Bucket="artifacts", Key="k", **conditions)
        assert code(refused) == expected
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="artifacts", Key="k", Body=b"x", IfNoneMatch="*")
    assert code(refused) == "PreconditionFailed"
    s3.put_object(Bucket="artifacts", Key="k", Body=b"y", IfMatch=etag)


def test_what_is_not_there_is_named(s3):
    for call, expected in (
            (lambda: s3.get_object(Bucket="artifacts", Key="none"), "NoSuchKey"), (lambda: s3.head_object(Bucket="artifacts", Key="none"), "404"),
            (lambda: s3.get_object(Bucket="nowhere", Key="k"), "NoSuchBucket"), (lambda: s3.put_object(Bucket="nowhere", Key="k"), "NoSuchBucket"),
            (lambda: s3.head_bucket(Bucket="nowhere"), "404"), (lambda: s3.delete_bucket(Bucket="nowhere"), "NoSuchBucket"),
            (lambda: s3.list_objects_v2(Bucket="nowhere"), "NoSuchBucket"), (lambda: s3.abort_multipart_upload(
                Bucket="artifacts", Key="k", UploadId="none"), "NoSuchUpload"),
            (lambda: s3.create_bucket(Bucket="Not_A_Name"), "InvalidBucketName")):
        with pytest.raises(ClientError) as refused:
            call()
        assert code(refused) == expected
    s3.delete_object(Bucket="artifacts", Key="none")
    assert s3.get_bucket_location(Bucket="artifacts")["LocationConstraint"] is None


def test_a_listing_has_pages_folders_and_an_order(s3):
    names = sorted(f"{folder}/{number:02}" for folder in "abc" for number in range(7)) + ["z"]
    for name in names:
        s3.put_object(Bucket="artifacts", Key=name, Body=b"")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="artifacts", PaginationConfig={"PageSize": 4}))
    assert [o["Key"] for page in pages for o in page["Contents"]] == names and len(pages) == 6
    folders = s3.list_objects_v2(Bucket="artifacts", Delimiter="/", MaxKeys=2)
    assert [p["Prefix"] for p in folders["CommonPrefixes"]] == ["a/", "b/"] and folders["IsTruncated"]
    rest = s3.list_objects_v2(Bucket="artifacts", Delimiter="/", ContinuationToken=folders["NextContinuationToken"])
    assert [p["Prefix"] for p in rest["CommonPrefixes"]] == ["c/"] and [o["Key"] for o in rest["Contents"]] == ["z"]
    old = s3.get_paginator("list_objects").paginate(Bucket="artifacts", Prefix="b/", PaginationConfig={"PageSize": 3})
    assert [o["Key"] for page in old for o in page["Contents"]] == names[7:14]
    assert s3.list_objects_v2(Bucket="artifacts", StartAfter="c/05")["KeyCount"] == 2
    with pytest.raises(ClientError) as refused:
        s3.list_objects_v2(Bucket="artifacts", ContinuationToken="made up")
    assert code(refused) == "InvalidArgument"
    deleted = s3.delete_objects(Bucket="artifacts", Delete={"Objects": [{"Key": name} for name in names[:10]]})
    assert len(deleted["Deleted"]) == 10 and s3.list_objects_v2(Bucket="artifacts")["KeyCount"] == len(names) - 10


def test_a_multipart_upload_is_nothing_until_it_is_completed(s3):
    body = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"the end"]
    upload = s3.create_multipart_upload(Bucket="artifacts", Key="big", ContentType="text/y")["UploadId"]
    where = {"Bucket": "artifacts", "Key": "big", "UploadId": upload}
    parts = []
    for number, part in enumerate(body, 1):
        s3.upload_part(**where, PartNumber=number, Body=b"first try")
        parts.append({"PartNumber": number, "ETag": s3.upload_part(**where, PartNumber=number, Body=part)["ETag"]})
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket="artifacts")["Uploads"]] == [upload]
    assert [p["Size"] for p in s3.list_parts(**where)["Parts"]] == [len(part) for part in body]
    page = s3.list_parts(**where, MaxParts=2)
    assert page["IsTruncated"] and s3.list_parts(**where, PartNumberMarker=page["NextPartNumberMarker"])["Parts"][0]["PartNumber"] == 3
    assert s3.list_objects_v2(Bucket="artifacts")["KeyCount"] == 0
    for wrong, expected in ((parts[::-1], "InvalidPartOrder"), ([{**parts[0], "ETag": '"x"'}], "InvalidPart"),
                            ([parts[2], ], None), ([{"PartNumber": 9, "ETag": '"x"'}], "InvalidPart")):
        if expected:
            with pytest.raises(ClientError) as refused:
                s3.complete_multipart_upload(**where, MultipartUpload={"Parts": wrong})
            assert code(refused) == expected
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    whole = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in body)).hexdigest()
    assert done["ETag"] == f'"{whole}-3"'
    assert s3.get_object(Bucket="artifacts", Key="big")["Body"].read() == b"".join(body)
    assert s3.head_object(Bucket="artifacts", Key="big")["ContentType"] == "text/y"
    with pytest.raises(ClientError) as refused:
        s3.list_parts(**where)
    assert code(refused) == "NoSuchUpload"
    small = s3.create_multipart_upload(Bucket="artifacts", Key="small")["UploadId"]
    where = {"Bucket": "artifacts", "Key": "small", "UploadId": small}
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**where, PartNumber=n, Body=b"too small")["ETag"]} for n in (1, 2)]
    with pytest.raises(ClientError) as refused:
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert code(refused) == "EntityTooSmall"
    s3.abort_multipart_upload(**where)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="artifacts")


def test_a_body_that_is_not_what_was_signed_or_summed_is_not_stored(cloud, s3):
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="artifacts", Key="k", Body=b"body", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert code(refused) == "BadDigest"
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="artifacts", Key="k", Body=b"body", ChecksumCRC32="AAAAAA==")
    assert code(refused) == "BadDigest"

    def change(request, **_):
        request.body = b"evil"
    s3.meta.events.register("before-send.s3.PutObject", change)
    with pytest.raises(ClientError):
        s3.put_object(Bucket="artifacts", Key="k", Body=b"body")
    assert s3.list_objects_v2(Bucket="artifacts")["KeyCount"] == 0
    assert not [file for file in (cloud.data / "objects").rglob("*") if file.is_file()]


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_presigned_urls_read_and_write_until_they_expire(cloud, s3, version):
    client = cloud.client("s3", config=Config(signature_version=version))
    put = client.generate_presigned_url("put_object", Params={"Bucket": "artifacts", "Key": "a b"}, ExpiresIn=60)
    assert fetch(put, "PUT", b"written", {"Content-Type": ""})[0] == 200
    get = client.generate_presigned_url("get_object", Params={"Bucket": "artifacts", "Key": "a b"}, ExpiresIn=60)
    assert fetch(get) == (200, b"written")
    status, body = fetch(get.replace("a%20b", "other"))
    assert status == 403 and b"SignatureDoesNotMatch" in body
    assert fetch(get, "DELETE")[0] == 403
    # The expiry is covered by the signature, so it cannot be put off.
    short = client.generate_presigned_url("get_object", Params={"Bucket": "artifacts", "Key": "a b"}, ExpiresIn=1)
    deadline = time.monotonic() + 10
    while fetch(short)[0] == 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)  # the pace of looking
    status, body = fetch(short)
    assert status == 403 and b"Request has expired" in body
    assert "Signature=" not in cloud.log() and "X-Amz-" not in cloud.log()


def test_the_cli_presigns_also_with_a_roles_keys(cloud, s3):
    s3.put_object(Bucket="artifacts", Key="k", Body=b"x")
    url = cloud.aws("s3", "presign", "s3://artifacts/k").stdout.strip()
    assert fetch(url) == (200, b"x")
    trust = '{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}'
    iam = cloud.client("iam")
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allow = '{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}'
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=allow)
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    for version in ("s3v4", "s3"):
        client = cloud.client("s3", keys=keys, config=Config(signature_version=version))
        url = client.generate_presigned_url("get_object", Params={"Bucket": "artifacts", "Key": "k"})
        assert fetch(url) == (200, b"x"), version
        status, body = fetch(url.replace(urllib.parse.quote(keys["SessionToken"], safe=""), "other"))
        assert status in (400, 403) and b"InvalidToken" in body


def test_a_bucket_may_be_named_by_the_host(cloud, s3):
    s3.put_object(Bucket="artifacts", Key="k", Body=b"x")
    port = cloud.url.rsplit(":", 1)[1]
    own = cloud.credentials()
    import boto3
    named = boto3.Session(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1").client(
        "s3", endpoint_url=f"http://localhost:{port}", config=Config(s3={"addressing_style": "virtual"}, signature_version="s3v4"))
    url = named.generate_presigned_url("get_object", Params={"Bucket": "artifacts", "Key": "k"})
    assert url.startswith(f"http://artifacts.localhost:{port}/k")
    assert fetch(url.replace("artifacts.localhost", "127.0.0.1"), headers={"Host": f"artifacts.localhost:{port}"}) == (200, b"x")


def test_an_object_that_is_a_web_page_has_no_part_in_this_origin(s3):
    s3.put_object(Bucket="artifacts", Key="page.html", Body=b"<script>", ContentType="text/html")
    with urllib.request.urlopen(s3.generate_presigned_url("get_object", Params={"Bucket": "artifacts", "Key": "page.html"}), timeout=10) as answer:
        assert answer.headers["Content-Security-Policy"] == "sandbox" and answer.headers["X-Content-Type-Options"] == "nosniff"

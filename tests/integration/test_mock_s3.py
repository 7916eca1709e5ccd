"""akidb mock-s3 against boto3: what S3 does, it does; and it fails as it is told to."""
import base64
import concurrent.futures
import hashlib
import os
import random
import shutil
import tempfile
import time

import boto3.s3.transfer
from botocore.exceptions import ClientError

import s3_raw
from s3_calls import begin, body, code, fetch, keys_of
from support import MockS3, equal, raw, run

MIB = 1 << 20
SERVER = MockS3()


def fresh(s3, count=[0]):
    """A new bucket."""
    count[0] += 1
    name = f"bucket-{count[0]}"
    s3.create_bucket(Bucket=name)
    return name


# --- buckets ---


def test_buckets_are_made_listed_located_and_removed():
    s3 = SERVER.boto()
    name = fresh(s3)
    assert name in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=name)
    equal(s3.get_bucket_location(Bucket=name)["LocationConstraint"], None)
    equal(code(s3.create_bucket, Bucket=name), (409, "BucketAlreadyOwnedByYou"))
    s3.put_object(Bucket=name, Key="k", Body=b"")
    equal(code(s3.delete_bucket, Bucket=name), (409, "BucketNotEmpty"))
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    equal(code(s3.head_bucket, Bucket=name), (404, "404"))
    equal(code(s3.list_objects_v2, Bucket=name), (404, "NoSuchBucket"))
    equal(code(s3.put_object, Bucket=name, Key="k", Body=b"1"), (404, "NoSuchBucket"))
    equal(code(s3.delete_bucket, Bucket=name), (404, "NoSuchBucket"))
    s3.create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    equal(s3.get_bucket_location(Bucket="elsewhere")["LocationConstraint"], "eu-central-1")
    equal(s3.head_bucket(Bucket="elsewhere")["BucketRegion"], "eu-central-1")


def test_bucket_names_that_s3_refuses_are_refused():
    for name in ["ab", "Abc", "a_b", "-ab", "ab-", "a..b", "a" * 64]:
        answer = s3_raw.Signed(SERVER, "PUT", f"/{name}").send()
        equal((answer.status, b"InvalidBucketName" in answer.body), (400, True), name)


# --- objects ---


def test_objects_come_back_as_they_were_put():
    s3 = SERVER.boto()
    for size in [0, 1, 16383, 65536, 300000, 3 * MIB + 7]:
        data = random.randbytes(size)
        put = s3.put_object(Bucket="test", Key=f"size/{size}", Body=data, ContentType="a/b; c=d", CacheControl="no-store",
                            ContentDisposition="attachment", ContentEncoding="x", ContentLanguage="en",
                            Metadata={"Upper-Case": "a b", "empty": ""})
        equal(put["ETag"], f'"{hashlib.md5(data).hexdigest()}"')
        head = s3.head_object(Bucket="test", Key=f"size/{size}")
        got = s3.get_object(Bucket="test", Key=f"size/{size}")
        for answer in (head, got):
            equal(answer["ContentLength"], size)
            equal((answer["ContentType"], answer["CacheControl"], answer["ContentDisposition"], answer["ContentEncoding"],
                   answer["ContentLanguage"]), ("a/b; c=d", "no-store", "attachment", "x", "en"))
            equal(answer["Metadata"], {"upper-case": "a b", "empty": ""})
            equal(answer["ETag"], put["ETag"])
            equal(answer["AcceptRanges"], "bytes")
            assert abs(answer["LastModified"].timestamp() - time.time()) < 60
        equal(got["Body"].read(), data)
    s3.put_object(Bucket="test", Key="plain", Body=b"1")
    equal(s3.head_object(Bucket="test", Key="plain")["ContentType"], "binary/octet-stream")


def test_what_is_not_there_is_said_to_be_missing():
    s3 = SERVER.boto()
    equal(code(s3.get_object, Bucket="test", Key="no"), (404, "NoSuchKey"))
    equal(code(s3.head_object, Bucket="test", Key="no"), (404, "404"))
    equal(code(s3.get_object, Bucket="nothere", Key="no"), (404, "NoSuchBucket"))
    s3.delete_object(Bucket="test", Key="no")
    try:
        s3.get_object(Bucket="test", Key="no/such key")
    except ClientError as error:
        parts = error.response["Error"]
        equal((parts["Key"], parts["BucketName"], parts["Resource"]), ("no/such key", "test", "/test/no/such key"))
        meta = error.response["ResponseMetadata"]
        assert parts["Message"] and meta["RequestId"] and meta["HostId"]


def test_any_key_is_a_key():
    s3 = SERVER.boto()
    bucket = fresh(s3)
    keys = ["a", "a/", "a/b", "a//b", "fd", "fd/x", "sp ace", "plus+", "per%cent", "per%41", "ü/ö/ß", "日本/語", "😀", "q?a=b&c",
            "#hash", "'quote\"", "<xml>&amp;", "~tilde", "semi;colon:@=$,!*()", "x" * 1024, "tab\there", "back\\slash"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in keys:
        equal(body(s3, bucket, key), key.encode(), key)
    listed = keys_of(s3.list_objects_v2(Bucket=bucket))
    equal(listed, sorted(keys, key=lambda k: k.encode()))
    equal(code(s3.put_object, Bucket=bucket, Key="x" * 1025, Body=b""), (400, "KeyTooLongError"))
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in keys]})
    equal(sorted(d["Key"] for d in deleted["Deleted"]), sorted(keys))
    equal(keys_of(s3.list_objects_v2(Bucket=bucket)), [])


def test_ranges_are_served_and_refused_as_s3_does():
    s3 = SERVER.boto()
    data = random.randbytes(100000)
    s3.put_object(Bucket="test", Key="range", Body=data)
    s3.put_object(Bucket="test", Key="empty", Body=b"")
    for text, part, place in [("bytes=0-0", data[:1], "0-0"), ("bytes=10-99", data[10:100], "10-99"),
                              ("bytes=99990-", data[99990:], "99990-99999"), ("bytes=-7", data[-7:], "99993-99999"),
                              ("bytes=-200000", data, "0-99999"), ("bytes=5-200000", data[5:], "5-99999")]:
        got = s3.get_object(Bucket="test", Key="range", Range=text)
        equal(got["ResponseMetadata"]["HTTPStatusCode"], 206)
        equal(got["ContentRange"], f"bytes {place}/100000")
        equal(got["Body"].read(), part, text)
        head = s3.head_object(Bucket="test", Key="range", Range=text)
        equal((head["ContentLength"], head["ResponseMetadata"]["HTTPStatusCode"]), (len(part), 206))
    for text in ["bytes=100000-", "bytes=100001-200000", "bytes=-0"]:
        equal(code(s3.get_object, Bucket="test", Key="range", Range=text), (416, "InvalidRange"), text)
    equal(code(s3.get_object, Bucket="test", Key="empty", Range="bytes=0-"), (416, "InvalidRange"))
    for text in ["bytes=5-2", "lines=1-2", "bytes=0-1,5-6", "bytes=x-"]:  # not a range: the whole
        equal(len(body(s3, "test", "range", Range=text)), 100000, text)


def test_reads_keep_their_conditions():
    s3 = SERVER.boto()
    etag = s3.put_object(Bucket="test", Key="cond", Body=b"1")["ETag"]
    changed = s3.head_object(Bucket="test", Key="cond")["LastModified"]
    equal(body(s3, "test", "cond", IfMatch=etag), b"1")
    equal(body(s3, "test", "cond", IfNoneMatch='"other"'), b"1")
    equal(code(s3.get_object, Bucket="test", Key="cond", IfMatch='"stale"'), (412, "PreconditionFailed"))
    equal(code(s3.get_object, Bucket="test", Key="cond", IfNoneMatch=etag), (304, "304"))
    equal(code(s3.head_object, Bucket="test", Key="cond", IfNoneMatch=etag), (304, "304"))
    equal(code(s3.get_object, Bucket="test", Key="cond", IfModifiedSince=changed), (304, "304"))
    equal(code(s3.get_object, Bucket="test", Key="cond", IfUnmodifiedSince="2001-01-01"), (412, "PreconditionFailed"))
    equal(body(s3, "test", "cond", IfModifiedSince="2001-01-01"), b"1")
    equal(body(s3, "test", "cond", IfUnmodifiedSince=changed), b"1")
    equal(body(s3, "test", "cond", IfMatch=etag, IfUnmodifiedSince="2001-01-01"), b"1")  # the first decides


def test_writes_keep_their_conditions():
    s3 = SERVER.boto()
    first = s3.put_object(Bucket="test", Key="once", Body=b"1", IfNoneMatch="*")["ETag"]
    equal(code(s3.put_object, Bucket="test", Key="once", Body=b"2", IfNoneMatch="*"), (412, "PreconditionFailed"))
    equal(body(s3, "test", "once"), b"1")
    s3.put_object(Bucket="test", Key="once", Body=b"3", IfMatch=first)
    equal(code(s3.put_object, Bucket="test", Key="once", Body=b"4", IfMatch=first), (412, "PreconditionFailed"))
    equal(body(s3, "test", "once"), b"3")
    equal(code(s3.put_object, Bucket="test", Key="never", Body=b"", IfMatch=first), (404, "NoSuchKey"))
    equal(code(s3.put_object, Bucket="test", Key="once", Body=b"5", IfNoneMatch='"x"'), (501, "NotImplemented"))
    equal(code(s3.delete_object, Bucket="test", Key="once", IfMatch=first), (412, "PreconditionFailed"))
    s3.delete_object(Bucket="test", Key="once", IfMatch="*")
    equal(code(s3.get_object, Bucket="test", Key="once"), (404, "NoSuchKey"))


def test_of_many_writers_one_wins():
    s3 = SERVER.boto(max_pool_connections=16)

    def attempt(key, condition):
        try:
            s3.put_object(Bucket="test", Key=key, Body=os.urandom(100), **condition)
            return 1
        except ClientError as error:
            equal(error.response["Error"]["Code"], "PreconditionFailed")
            return 0

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for turn in range(20):
            key = f"race/{turn}"
            equal(sum(pool.map(lambda _: attempt(key, {"IfNoneMatch": "*"}), range(16))), 1, "winners of If-None-Match")
            etag = s3.head_object(Bucket="test", Key=key)["ETag"]
            equal(sum(pool.map(lambda _: attempt(key, {"IfMatch": etag}), range(16))), 1, "winners of If-Match")


def test_checksums_are_checked_kept_and_given_back():
    s3 = SERVER.boto(response_checksum_validation="when_required")
    data = random.randbytes(200000)
    for kind in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
        field = "Checksum" + kind
        put = s3.put_object(Bucket="test", Key=kind, Body=data, ChecksumAlgorithm=kind)
        value = put[field]
        equal(put["ChecksumType"], "FULL_OBJECT")
        for call in (s3.head_object, s3.get_object):
            equal(call(Bucket="test", Key=kind, ChecksumMode="ENABLED")[field], value, kind)
            assert field not in call(Bucket="test", Key=kind)
        assert field not in s3.get_object(Bucket="test", Key=kind, ChecksumMode="ENABLED", Range="bytes=0-9")
        equal(s3.put_object(Bucket="test", Key="given", Body=data, **{field: value})[field], value)
        wrong = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
        equal(code(s3.put_object, Bucket="test", Key="bad", Body=data, **{field: wrong}), (400, "BadDigest"), kind)
        equal(code(s3.put_object, Bucket="test", Key="bad", Body=data, **{field: "AAA"}), (400, "InvalidRequest"), kind)
        equal([o["ChecksumAlgorithm"] for o in s3.list_objects_v2(Bucket="test", Prefix=kind)["Contents"] if o["Key"] == kind],
              [[kind]])
    # awscrt validates what it gets back, with its own arithmetic.
    equal(body(SERVER.boto(), "test", "CRC64NVME", ChecksumMode="ENABLED"), data)
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    s3.put_object(Bucket="test", Key="md5", Body=data, ContentMD5=md5)
    equal(code(s3.put_object, Bucket="test", Key="bad", Body=data + b"x", ContentMD5=md5), (400, "BadDigest"))
    equal(code(s3.put_object, Bucket="test", Key="bad", Body=data, ContentMD5="AAAA"), (400, "InvalidDigest"))
    equal(code(s3.get_object, Bucket="test", Key="bad"), (404, "NoSuchKey"))


def test_copies_are_made_with_and_without_new_headers():
    s3 = SERVER.boto()
    data = random.randbytes(700000)
    etag = s3.put_object(Bucket="test", Key="from é", Body=data, ContentType="x/y", Metadata={"a": "1"})["ETag"]
    copy = s3.copy_object(Bucket="test", Key="to", CopySource={"Bucket": "test", "Key": "from é"})
    equal(copy["CopyObjectResult"]["ETag"], etag)
    got = s3.get_object(Bucket="test", Key="to")
    equal((got["Body"].read(), got["ContentType"], got["Metadata"]), (data, "x/y", {"a": "1"}))
    s3.copy_object(Bucket="test", Key="to", CopySource="test/to", MetadataDirective="REPLACE", Metadata={"b": "2"})
    got = s3.head_object(Bucket="test", Key="to")
    equal((got["Metadata"], got["ContentType"], got["ContentLength"]), ({"b": "2"}, "binary/octet-stream", 700000))
    source = {"Bucket": "test", "CopySource": "test/to", "Key": "to2"}
    equal(code(s3.copy_object, **{**source, "Key": "to"}), (400, "InvalidRequest"))
    equal(code(s3.copy_object, **source, CopySourceIfMatch='"x"'), (412, "PreconditionFailed"))
    equal(code(s3.copy_object, **source, CopySourceIfNoneMatch=etag), (412, "PreconditionFailed"))
    equal(code(s3.copy_object, **{**source, "CopySource": "test/none"}), (404, "NoSuchKey"))
    equal(code(s3.copy_object, **{**source, "CopySource": "none/none"}), (404, "NoSuchBucket"))
    equal(code(s3.copy_object, **{**source, "CopySource": "none"}), (400, "InvalidArgument"))


def test_many_objects_are_deleted_at_once():
    s3 = SERVER.boto()
    bucket = fresh(s3)
    for i in range(10):
        s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"")
    wanted = {"Objects": [{"Key": f"k{i}"} for i in range(11)]}
    answer = s3.delete_objects(Bucket=bucket, Delete=wanted)
    equal((len(answer["Deleted"]), answer.get("Errors")), (11, None))
    answer = s3.delete_objects(Bucket=bucket, Delete={**wanted, "Quiet": True})
    equal((answer.get("Deleted"), answer.get("Errors")), (None, None))
    equal(code(s3.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "k"}] * 1001}), (400, "MalformedXML"))


# --- listing ---


def expected_list(keys, prefix, delimiter, after):
    """Names in order: keys, and what they have in common up to the delimiter."""
    names = []
    for key in sorted(keys, key=lambda k: k.encode()):
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        rest = key[len(prefix):]
        name = key
        if delimiter and delimiter in rest:
            name = prefix + rest[:rest.index(delimiter) + len(delimiter)]
        if not names or names[-1] != name:
            names.append(name)
    return names


def pages(call, **arguments):
    names = []
    while True:
        answer = call(**arguments)
        page = keys_of(answer) + [p["Prefix"] for p in answer.get("CommonPrefixes", [])]
        assert len(page) <= arguments.get("MaxKeys", 1000)
        names += sorted(page, key=lambda k: k.encode())
        if not answer["IsTruncated"]:
            return names
        if "NextContinuationToken" in answer:
            equal(answer["KeyCount"], len(page))
            arguments["ContinuationToken"] = answer["NextContinuationToken"]
        else:
            arguments["Marker"] = answer.get("NextMarker", page[-1])


def test_listings_agree_with_a_simple_model():
    s3 = SERVER.boto()
    bucket = fresh(s3)
    dice = random.Random(7)
    keys = {"".join(dice.choice(["a", "b", "/", "ü", "\U0010ffff", "+ "]) for _ in range(dice.randint(1, 7))) for _ in range(400)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    for turn in range(60):
        prefix = dice.choice(["", "a", "a/", "ü", "zz", "b//", "\U0010ffff"])
        delimiter = dice.choice(["", "/", "/", "a/", "ü", "\U0010ffff"])
        after = dice.choice(["", "", "a", "b/", "a/b", "ü", dice.choice(sorted(keys))])
        size = dice.choice([1, 3, 10, 1000])
        want = expected_list(keys, prefix, delimiter, after)
        what = f"{prefix!r} {delimiter!r} {after!r} {size}"
        equal(pages(s3.list_objects_v2, Bucket=bucket, Prefix=prefix, Delimiter=delimiter, StartAfter=after, MaxKeys=size),
              want, what)
        equal(pages(s3.list_objects, Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=size),
              expected_list(keys, prefix, delimiter, ""), what)


def test_listings_say_what_was_asked():
    s3 = SERVER.boto()
    bucket = fresh(s3)
    for i in range(26):
        s3.put_object(Bucket=bucket, Key=f"l/{i:02}", Body=b"x" * i)
    answer = s3.list_objects_v2(Bucket=bucket, Prefix="l/", MaxKeys=10, StartAfter="l/03", FetchOwner=True)
    equal((answer["KeyCount"], answer["MaxKeys"], answer["IsTruncated"], answer["StartAfter"], answer["Prefix"]),
          (10, 10, True, "l/03", "l/"))
    equal(keys_of(answer), [f"l/{i:02}" for i in range(4, 14)])
    equal(answer["Contents"][0]["Size"], 4)
    assert answer["Contents"][0]["ETag"] and answer["Contents"][0]["Owner"] and answer["Contents"][0]["LastModified"]
    equal(s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"], 0)
    equal(code(s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense"), (400, "InvalidArgument"))
    answer = s3_raw.Signed(SERVER, "GET", f"/{bucket}", "list-type=2&max-keys=x").send()
    equal((answer.status, b"InvalidArgument" in answer.body), (400, True))


# --- multipart ---


def test_an_object_is_put_in_parts():
    s3 = SERVER.boto()
    data = random.randbytes(12 * MIB)
    upload = begin(s3, "parts", ContentType="m/p", Metadata={"a": "b"})
    assert "parts" in [u["Key"] for u in s3.list_multipart_uploads(Bucket="test")["Uploads"]]
    parts = []
    for number, part in [(3, data[10 * MIB:]), (1, b"replaced later"), (1, data[:5 * MIB]), (2, data[5 * MIB:10 * MIB])]:
        etag = s3.upload_part(**upload, PartNumber=number, Body=part)["ETag"]
        equal(etag, f'"{hashlib.md5(part).hexdigest()}"')
        parts = [p for p in parts if p["PartNumber"] != number] + [{"PartNumber": number, "ETag": etag}]
    parts.sort(key=lambda p: p["PartNumber"])
    listed = s3.list_parts(**upload)
    equal([(p["PartNumber"], p["Size"]) for p in listed["Parts"]], [(1, 5 * MIB), (2, 5 * MIB), (3, 2 * MIB)])
    page = s3.list_parts(**upload, MaxParts=2)
    equal((len(page["Parts"]), page["IsTruncated"], page["NextPartNumberMarker"]), (2, True, 2))
    equal([p["PartNumber"] for p in s3.list_parts(**upload, PartNumberMarker=2)["Parts"]], [3])
    equal(code(s3.get_object, Bucket="test", Key="parts"), (404, "NoSuchKey"))
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    want = hashlib.md5(b"".join(hashlib.md5(data[i:i + 5 * MIB]).digest() for i in range(0, 12 * MIB, 5 * MIB))).hexdigest()
    equal(done["ETag"], f'"{want}-3"')
    got = s3.get_object(Bucket="test", Key="parts")
    equal((got["Body"].read() == data, got["ETag"], got["ContentType"], got["Metadata"]),
          (True, done["ETag"], "m/p", {"a": "b"}))
    equal(code(s3.upload_part, **upload, PartNumber=1, Body=b""), (404, "NoSuchUpload"))
    equal(code(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}), (404, "NoSuchUpload"))


def test_uploads_that_cannot_be_completed_are_refused():
    s3 = SERVER.boto()
    upload = begin(s3, "refused")
    tags = [s3.upload_part(**upload, PartNumber=n, Body=b"x" * size)["ETag"] for n, size in [(1, 5 * MIB), (2, 10), (3, 10)]]

    def complete(*parts, **more):
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in parts]
        return code(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}, **more)

    equal(complete((1, tags[0]), (2, tags[1]), (3, tags[2])), (400, "EntityTooSmall"))
    equal(complete((2, tags[1]), (1, tags[0])), (400, "InvalidPartOrder"))
    equal(complete((1, tags[0]), (1, tags[0])), (400, "InvalidPartOrder"))
    equal(complete((1, tags[1]), (2, tags[0])), (400, "InvalidPart"))
    equal(complete((4, tags[1])), (400, "InvalidPart"))
    equal(complete((10001, tags[1])), (400, "InvalidArgument"))
    equal(complete(), (400, "MalformedXML"))
    equal(code(s3.upload_part, **upload, PartNumber=0, Body=b""), (400, "InvalidArgument"))
    equal(code(s3.upload_part, **upload, PartNumber=10001, Body=b""), (400, "InvalidArgument"))
    equal(code(s3.upload_part, **{**upload, "UploadId": "no"}, PartNumber=1, Body=b""), (404, "NoSuchUpload"))
    equal(code(s3.upload_part, **{**upload, "Key": "other"}, PartNumber=1, Body=b""), (404, "NoSuchUpload"))
    s3.put_object(Bucket="test", Key="refused", Body=b"first")
    equal(complete((1, tags[0]), (3, tags[2]), IfNoneMatch="*"), (412, "PreconditionFailed"))
    equal(body(s3, "test", "refused"), b"first")
    s3.delete_object(Bucket="test", Key="refused")
    parts = [{"PartNumber": 1, "ETag": tags[0]}, {"PartNumber": 3, "ETag": tags[2]}]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    equal(s3.head_object(Bucket="test", Key="refused")["ContentLength"], 5 * MIB + 10)


def test_an_upload_that_is_given_up_is_gone():
    s3 = SERVER.boto()
    before = SERVER.state()
    upload = begin(s3, "given-up")
    s3.upload_part(**upload, PartNumber=1, Body=b"x" * MIB)
    equal(SERVER.state()["multipart_uploads"], before["multipart_uploads"] + 1)
    equal(SERVER.state()["bytes_stored"], before["bytes_stored"] + MIB)
    s3.abort_multipart_upload(**upload)
    equal(SERVER.state()["bytes_stored"], before["bytes_stored"])
    equal(code(s3.upload_part, **upload, PartNumber=1, Body=b""), (404, "NoSuchUpload"))
    equal(code(s3.abort_multipart_upload, **upload), (404, "NoSuchUpload"))
    equal(code(s3.list_parts, **upload), (404, "NoSuchUpload"))


def test_uploads_are_listed_by_key_and_age():
    s3 = SERVER.boto()
    bucket = fresh(s3)
    ids = [(key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ["b", "a", "b", "c/ü"]]
    ids.sort(key=lambda pair: pair[0])
    listed = []
    markers = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1, **markers)
        listed += [(u["Key"], u["UploadId"]) for u in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    equal(listed, ids)
    equal(len(s3.list_multipart_uploads(Bucket=bucket, Prefix="b")["Uploads"]), 2)
    s3.delete_bucket(Bucket=bucket)  # uploads do not keep it


def test_checksums_of_parts_make_that_of_the_object():
    s3 = SERVER.boto(response_checksum_validation="when_required")
    data = random.randbytes(6 * MIB)
    for kind, form in [("CRC32", "COMPOSITE"), ("SHA256", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC32C", "FULL_OBJECT"),
                       ("CRC64NVME", "FULL_OBJECT")]:
        field = "Checksum" + kind
        upload = begin(s3, "sums", ChecksumAlgorithm=kind, ChecksumType=form)
        parts = []
        for number, part in [(1, data[:5 * MIB]), (2, data[5 * MIB:])]:
            sent = s3.upload_part(**upload, PartNumber=number, Body=part, ChecksumAlgorithm=kind)
            parts.append({"PartNumber": number, "ETag": sent["ETag"], field: sent[field]})
        equal(s3.list_parts(**upload)["Parts"][0][field], parts[0][field])
        wrong = [{**parts[0], field: parts[1][field]}, parts[1]]
        equal(code(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": wrong}), (400, "InvalidPart"))
        done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        head = s3.head_object(Bucket="test", Key="sums", ChecksumMode="ENABLED")
        equal((head[field], head["ChecksumType"]), (done[field], form))
        if form == "FULL_OBJECT":
            equal(done[field], s3.put_object(Bucket="test", Key="whole", Body=data, ChecksumAlgorithm=kind)[field])
        else:
            assert done[field].endswith("-2"), done[field]
    if kind == "SHA256":
        joined = b"".join(base64.b64decode(p[field]) for p in parts)
        equal(done[field], base64.b64encode(hashlib.sha256(joined).digest()).decode() + "-2")
    equal(code(s3.create_multipart_upload, Bucket="test", Key="x", ChecksumAlgorithm="SHA1", ChecksumType="FULL_OBJECT"),
          (400, "InvalidRequest"))


def test_files_are_moved_by_the_transfer_manager():
    s3 = SERVER.boto(max_pool_connections=10)
    folder = tempfile.mkdtemp(prefix="akidb-it-")
    data = random.randbytes(21 * MIB + 5)
    with open(f"{folder}/a", "wb") as file:
        file.write(data)
    how = boto3.s3.transfer.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_file(f"{folder}/a", "test", "file", Config=how)
    assert s3.head_object(Bucket="test", Key="file")["ETag"].endswith('-5"')
    s3.download_file("test", "file", f"{folder}/b", Config=how)
    with open(f"{folder}/b", "rb") as file:
        assert file.read() == data
    shutil.rmtree(folder)


# --- signatures ---


def test_wrong_credentials_are_refused_with_what_was_computed():
    equal(code(SERVER.boto(key="NOBODY").list_buckets), (403, "InvalidAccessKeyId"))
    try:
        SERVER.boto(secret="wrong").get_object(Bucket="test", Key="a b")
        raise AssertionError("accepted")
    except ClientError as error:
        parts = error.response["Error"]
        equal(parts["Code"], "SignatureDoesNotMatch")
        assert parts["CanonicalRequest"].startswith("GET\n/test/a%20b\n\nhost:127.0.0.1"), parts
        assert parts["StringToSign"].startswith("AWS4-HMAC-SHA256\n")
        equal(parts["AWSAccessKeyId"], MockS3.KEY)
    answer = SERVER_CLIENT_GET("/test/a")
    equal((answer.status, b"AccessDenied" in answer.body), (403, True))


def SERVER_CLIENT_GET(path):
    from support import Client

    return Client(SERVER.port).get(path)


def test_what_is_not_signed_or_not_of_now_is_refused():
    def answer(**more):
        got = s3_raw.Signed(SERVER, "GET", "/test", "list-type=2", **more)
        return got

    equal(answer().send().status, 200)
    old = answer(age_s=901).send()
    equal((old.status, b"RequestTimeTooSkewed" in old.body), (403, True))
    equal(answer(age_s=890).send().status, 200)
    future = answer(age_s=-901).send()
    equal((future.status, b"RequestTimeTooSkewed" in future.body), (403, True))
    extra = answer()
    extra.headers["x-amz-acl"] = "private"
    got = extra.send()
    equal((got.status, b"not signed" in got.body), (403, True))
    changed = answer()
    changed.target = "/test?list-type=2&prefix=a"
    got = changed.send()
    equal((got.status, b"SignatureDoesNotMatch" in got.body), (403, True))
    body_changed = s3_raw.Signed(SERVER, "PUT", "/test/tampered", body=b"signed")
    body_changed.body = b"stolen"
    got = body_changed.send()
    equal((got.status, b"XAmzContentSHA256Mismatch" in got.body), (400, True))
    for header, want in [("AWS4-HMAC-SHA256 nonsense", 400), ("AWS AK:sig", 400), ("Bearer x", 400),
                         ("AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host, Signature=0", 400)]:
        spoilt = answer()
        spoilt.headers["authorization"] = header
        equal(spoilt.send().status, want, header)


def test_chunks_are_taken_apart_and_their_signatures_checked():
    s3 = SERVER.boto()
    for size in [0, 1, 65536, 65537, 300001]:
        data = random.randbytes(size)
        for signed in (True, False):
            for trailer in (None, ("x-amz-checksum-crc32", s3_raw.crc32(data))):
                got = s3_raw.chunked_put(SERVER, "/test/chunked", data, signed=signed, trailer=trailer,
                                         headers={"x-amz-meta-size": str(size)}).send()
                equal((got.status, got.body), (200, b""), f"{size} {signed} {trailer}")
                stored = s3.get_object(Bucket="test", Key="chunked")
                assert stored["Body"].read() == data
                assert "ContentEncoding" not in stored and stored["Metadata"] == {"size": str(size)}
    data = random.randbytes(200000)

    def refused(**more):
        got = s3_raw.chunked_put(SERVER, "/test/not-there", data, **more).send()
        return got.status, got.body.split(b"<Code>")[1].split(b"<")[0].decode()

    spoil = {"spoil": lambda number, chunk: chunk if number != 1 else b"x" + chunk[1:]}
    right = ("x-amz-checksum-crc32", s3_raw.crc32(data))
    wrong = ("x-amz-checksum-crc32", s3_raw.crc32(b"other"))
    equal(refused(**spoil), (403, "SignatureDoesNotMatch"))
    equal(refused(signed=False, trailer=right, **spoil), (400, "BadDigest"))
    equal(refused(signed=True, trailer=wrong), (400, "BadDigest"))
    equal(refused(decoded=199999), (400, "IncompleteBody"))
    equal(refused(decoded=200001), (400, "IncompleteBody"))
    equal(refused(trailer=("x-amz-checksum-what", "AAAA")), (400, "InvalidRequest"))
    request = s3_raw.chunked_put(SERVER, "/test/not-there", data, trailer=right)
    request.body = request.body.replace(b"x-amz-trailer-signature:", b"x-amz-trailer-signature:0")
    got = request.send()
    equal((got.status, b"SignatureDoesNotMatch" in got.body), (403, True))
    request = s3_raw.chunked_put(SERVER, "/test/not-there", data)
    request.body = request.body.replace(b"\r\n", b"\n", 1)
    equal(request.send().status, 400)
    equal(code(s3.get_object, Bucket="test", Key="not-there"), (404, "NoSuchKey"))


def test_presigned_urls_work_until_they_expire():
    s3 = SERVER.boto()
    s3.put_object(Bucket="test", Key="signed ü", Body=b"presigned")
    get = s3.generate_presigned_url("get_object", {"Bucket": "test", "Key": "signed ü", "ResponseContentType": "a/b"}, 60)
    code_, body_, headers = fetch(get)
    equal((code_, body_, headers["Content-Type"]), (200, b"presigned", "a/b"))
    put = s3.generate_presigned_url("put_object", {"Bucket": "test", "Key": "by-url", "ContentType": "t/x"}, 60)
    equal(fetch(put, "PUT", b"data", {"Content-Type": "t/x"})[0], 200)
    equal(body(s3, "test", "by-url"), b"data")
    equal(fetch(put, "PUT", b"data", {"Content-Type": "other/x"})[0], 403)
    equal(fetch(get.replace("signed", "Signed"))[0], 403)
    equal(fetch(get.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))[0], 403)
    equal(fetch(get.replace("X-Amz-Expires=60", "X-Amz-Expires=0"))[0], 400)
    old = s3.generate_presigned_url("get_object", {"Bucket": "test", "Key": "signed ü"}, 1)
    end = time.monotonic() + 30
    while fetch(old)[0] == 200 and time.monotonic() < end:
        time.sleep(0.1)
    code_, body_, _ = fetch(old)
    equal((code_, b"Request has expired" in body_), (403, True))


def test_a_bucket_can_be_in_the_host_name():
    s3 = SERVER.boto(s3={"addressing_style": "virtual"})
    request = s3_raw.Signed(SERVER, "PUT", "/in/host", headers={"host": f"test.localhost:{SERVER.port}"}, body=b"virtual")
    equal(request.send().status, 200)
    equal(body(s3, "test", "in/host"), b"virtual")
    listed = s3_raw.Signed(SERVER, "GET", "/", "list-type=2&prefix=in%2F", headers={"host": f"test.localhost:{SERVER.port}"}).send()
    assert b"<Key>in/host</Key>" in listed.body, listed.body


def test_another_region_is_refused_when_one_is_set():
    with MockS3(arguments=["--region", "eu-west-1"]) as server:
        equal(code(server.boto().list_buckets), (400, "AuthorizationHeaderMalformed"))


def test_without_a_key_everyone_may_do_everything():
    with MockS3(signed=False) as server:
        s3 = server.boto(secret="anything")
        s3.put_object(Bucket="test", Key="k", Body=b"1")
        equal(fetch(f"{server.url}/test/k")[1], b"1")
        equal(fetch(f"{server.url}/test/k2", "PUT", b"2")[0], 200)
        got = s3_raw.chunked_put(server, "/test/k3", b"3" * 100).send()
        equal(got.status, 200)
        equal(fetch(f"{server.url}/test/k3")[1], b"3" * 100)


# --- what is not spoken ---


def test_the_rest_of_s3_is_refused_as_not_implemented():
    s3 = SERVER.boto()
    s3.put_object(Bucket="test", Key="k", Body=b"")
    refused = [
        lambda: s3.get_bucket_acl(Bucket="test"),
        lambda: s3.get_bucket_versioning(Bucket="test"),
        lambda: s3.list_object_versions(Bucket="test"),
        lambda: s3.get_object_tagging(Bucket="test", Key="k"),
        lambda: s3.put_bucket_policy(Bucket="test", Policy="{}"),
        lambda: s3.get_object_attributes(Bucket="test", Key="k", ObjectAttributes=["ETag"]),
        lambda: s3.get_object(Bucket="test", Key="k", VersionId="3"),
        lambda: s3.get_object(Bucket="test", Key="k", PartNumber=1),
        lambda: s3.put_object(Bucket="test", Key="k", Body=b"", ServerSideEncryption="AES256"),
        lambda: s3.put_object(Bucket="test", Key="k", Body=b"", Tagging="a=b"),
        lambda: s3.put_object(Bucket="test", Key="k", Body=b"", StorageClass="GLACIER"),
        lambda: s3.put_object(Bucket="test", Key="k", Body=b"", ACL="public-read"),
        lambda: s3.restore_object(Bucket="test", Key="k"),
        lambda: s3.upload_part_copy(**begin(s3, "pc"), PartNumber=1, CopySource="test/k"),
    ]
    for call in refused:
        equal(code(call), (501, "NotImplemented"))
    for method in ["PATCH", "OPTIONS", "POST"]:
        equal(s3_raw.Signed(SERVER, method, "/test/k").send().status, 501, method)


def test_nonsense_is_answered_and_harms_nothing():
    head = f"Host: x\r\nContent-Length: "
    for data in [b"\x00\xff\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /test/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET /test?a=%f HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /test/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"PUT /test/k HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /" + b"&" * 7000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET /?" + b"a&" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]:
        answer = raw(SERVER.port, data)
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), (data[:60], answer[:200])
    with MockS3(signed=False) as server:
        xml = [b"", b"<", b"<Delete>", b"<Delete/>", b"<!DOCTYPE x><Delete/>", b"<a>" * 1000, b"<Delete><Object><Key>&x;</Key></Object></Delete>",
               b"<Delete><Object/></Delete>", b"\xff\xfe", b"<Delete>" + b" " * 9000000]
        for text in xml:
            md5 = base64.b64encode(hashlib.md5(text).digest()).decode()
            equal(fetch(f"{server.url}/test?delete", "POST", text, {"Content-MD5": md5})[0], 400, text[:40])
            equal(fetch(f"{server.url}/test/k?uploadId=1", "POST", text)[0], 400, text[:40])
        for lies in ["99999999999999", "-1", "5368709121"]:
            answer = raw(server.port, f"PUT /test/k HTTP/1.1\r\n{head}{lies}\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
        # Bodies that stop in the middle leave nothing.
        for _ in range(20):
            equal(raw(server.port, f"PUT /test/half HTTP/1.1\r\n{head}1000000\r\n\r\n".encode() + b"x" * 70000)[:9], b"")
        equal(fetch(f"{server.url}/test/half")[0], 404)
        equal(server.state()["bytes_stored"], 0)


def test_more_than_the_limit_is_refused_and_room_comes_back():
    with MockS3(arguments=["--max-bytes", "3000000"]) as server:
        s3 = server.boto()
        s3.put_object(Bucket="test", Key="a", Body=b"x" * 2000000)
        equal(code(s3.put_object, Bucket="test", Key="b", Body=b"x" * 2000000), (507, "InsufficientStorage"))
        equal(server.state()["bytes_stored"], 2000000)
        s3.delete_object(Bucket="test", Key="a")
        s3.put_object(Bucket="test", Key="b", Body=b"x" * 2000000)
        equal(server.state()["bytes_stored"], 2000000)


if __name__ == "__main__":
    with SERVER:
        run(globals())

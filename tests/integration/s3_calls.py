"""What the tests of akidb mock-s3 ask again and again."""
import urllib.error
import urllib.request

from botocore.exceptions import ClientError


def code(call, *args, **keywords):
    """(HTTP status, code) of the error that a call must give."""
    try:
        call(*args, **keywords)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    raise AssertionError("the call succeeded")


def keys_of(answer):
    return [entry["Key"] for entry in answer.get("Contents", [])]


def body(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def begin(s3, key, **more):
    return {"Bucket": "test", "Key": key, "UploadId": s3.create_multipart_upload(Bucket="test", Key=key, **more)["UploadId"]}


def fetch(url, method="GET", data=None, headers=None):
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers

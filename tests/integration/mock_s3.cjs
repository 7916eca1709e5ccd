// The AWS SDK for JavaScript against akidb mock-s3: node mock_s3.cjs URL KEY SECRET, packages from AKIDB_NPM.
// Prints a line per test and closes with "N passed, N failed".
"use strict";
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { Readable } = require("node:stream");
const packages = require("node:module").createRequire(process.env.AKIDB_NPM + "/");
const s3 = packages("@aws-sdk/client-s3");
const { Upload } = packages("@aws-sdk/lib-storage");
const { getSignedUrl } = packages("@aws-sdk/s3-request-presigner");

const [url, key, secret] = process.argv.slice(2);
const Bucket = "test";
const MIB = 1 << 20;

function client(more = {}) {
  return new s3.S3Client({
    endpoint: url, region: "us-east-1", forcePathStyle: true, maxAttempts: 1,
    credentials: { accessKeyId: key, secretAccessKey: secret }, ...more,
  });
}

const client0 = client();
const send = (command) => client0.send(command);
const put = (Key, Body, more = {}) => send(new s3.PutObjectCommand({ Bucket, Key, Body, ...more }));
const get = (Key, more = {}) => send(new s3.GetObjectCommand({ Bucket, Key, ...more }));
const bytes = async (Key, more) => Buffer.from(await (await get(Key, more)).Body.transformToByteArray());

async function refused(promise, name, status) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, name);
    assert.equal(error.$metadata.httpStatusCode, status);
    return true;
  });
}

const tests = {
  async buffers_and_streams_come_back_as_they_were_put() {
    for (const size of [0, 1, 70000, 3 * MIB]) {
      const data = crypto.randomBytes(size);
      const sent = await put("js/buffer", data, { ContentType: "a/b", Metadata: { x: "y" } });
      assert.equal(sent.ETag, `"${crypto.createHash("md5").update(data).digest("hex")}"`);
      assert.ok(sent.ChecksumCRC32);
      const got = await get("js/buffer", { ChecksumMode: "ENABLED" }); // the SDK checks the sum
      assert.deepEqual(Buffer.from(await got.Body.transformToByteArray()), data);
      assert.equal(got.ContentType, "a/b");
      assert.deepEqual(got.Metadata, { x: "y" });
      // A stream is sent as aws-chunked with its checksum as a trailer.
      await put("js/stream", Readable.from(size ? [data] : []), { ContentLength: size });
      assert.deepEqual(await bytes("js/stream"), data);
      assert.equal((await get("js/stream")).ContentEncoding, undefined);
    }
  },

  async every_checksum_is_understood() {
    const data = crypto.randomBytes(100000);
    for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256"]) {
      for (const body of [data, Readable.from([data])]) {
        const sent = await put("js/sum", body, { ChecksumAlgorithm, ContentLength: data.length });
        assert.ok(sent[`Checksum${ChecksumAlgorithm}`], ChecksumAlgorithm);
      }
      assert.deepEqual(await bytes("js/sum", { ChecksumMode: "ENABLED" }), data);
    }
  },

  async ranges_and_conditions_hold() {
    const { ETag } = await put("js/range", "0123456789");
    assert.equal((await bytes("js/range", { Range: "bytes=2-4" })).toString(), "234");
    assert.equal((await bytes("js/range", { Range: "bytes=-3" })).toString(), "789");
    await refused(get("js/range", { Range: "bytes=10-" }), "InvalidRange", 416);
    await refused(put("js/range", "x", { IfNoneMatch: "*" }), "PreconditionFailed", 412);
    await refused(put("js/range", "x", { IfMatch: '"stale"' }), "PreconditionFailed", 412);
    await put("js/range", "y", { IfMatch: ETag });
    assert.equal((await bytes("js/range")).toString(), "y");
  },

  async listings_come_in_pages() {
    await Promise.all([...Array(25).keys()].map((i) => put(`js/list/${i % 5}/ü ${i}`, "")));
    const keys = [];
    for await (const page of s3.paginateListObjectsV2({ client: client0, pageSize: 10 }, { Bucket, Prefix: "js/list/" })) {
      keys.push(...page.Contents.map((o) => o.Key));
    }
    assert.equal(keys.length, 25);
    assert.deepEqual(keys, [...keys].sort());
    const folders = await send(new s3.ListObjectsV2Command({ Bucket, Prefix: "js/list/", Delimiter: "/" }));
    assert.deepEqual(folders.CommonPrefixes.map((p) => p.Prefix), [0, 1, 2, 3, 4].map((i) => `js/list/${i}/`));
    const gone = await send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }));
    assert.equal(gone.Deleted.length, 25);
  },

  async uploads_are_made_in_parts() {
    const data = crypto.randomBytes(11 * MIB + 3);
    const upload = new Upload({
      client: client0, queueSize: 3, partSize: 5 * MIB, params: { Bucket, Key: "js/parts", Body: Readable.from([data]) },
    });
    const done = await upload.done();
    assert.match(done.ETag, /-3"$/);
    assert.deepEqual(await bytes("js/parts"), data);
    const { UploadId } = await send(new s3.CreateMultipartUploadCommand({ Bucket, Key: "js/abort" }));
    await send(new s3.UploadPartCommand({ Bucket, Key: "js/abort", UploadId, PartNumber: 1, Body: "x" }));
    await send(new s3.AbortMultipartUploadCommand({ Bucket, Key: "js/abort", UploadId }));
    await refused(send(new s3.ListPartsCommand({ Bucket, Key: "js/abort", UploadId })), "NoSuchUpload", 404);
  },

  async presigned_urls_work() {
    const to = await getSignedUrl(client0, new s3.PutObjectCommand({ Bucket, Key: "js/signed ü" }), { expiresIn: 60 });
    const sent = await fetch(to, { method: "PUT", body: "by url" });
    assert.equal(sent.status, 200, await sent.text());
    const from = await getSignedUrl(client0, new s3.GetObjectCommand({ Bucket, Key: "js/signed ü" }), { expiresIn: 60 });
    assert.equal(await (await fetch(from)).text(), "by url");
    assert.equal((await fetch(from.replace("signed", "other"))).status, 403);
  },

  async copies_and_heads_work() {
    await put("js/from", "copy", { Metadata: { a: "1" } });
    await send(new s3.CopyObjectCommand({ Bucket, Key: "js/to", CopySource: `${Bucket}/js/from` }));
    const head = await send(new s3.HeadObjectCommand({ Bucket, Key: "js/to" }));
    assert.deepEqual([head.ContentLength, head.Metadata], [4, { a: "1" }]);
    await send(new s3.DeleteObjectCommand({ Bucket, Key: "js/to" }));
    await refused(send(new s3.HeadObjectCommand({ Bucket, Key: "js/to" })), "NotFound", 404);
  },

  async errors_have_their_names() {
    await refused(get("js/none"), "NoSuchKey", 404);
    await refused(send(new s3.ListObjectsV2Command({ Bucket: "nothere" })), "NoSuchBucket", 404);
    await refused(send(new s3.GetBucketAclCommand({ Bucket })), "NotImplemented", 501);
    const wrong = client({ credentials: { accessKeyId: key, secretAccessKey: "wrong" } });
    await refused(wrong.send(new s3.ListBucketsCommand({})), "SignatureDoesNotMatch", 403);
    const nobody = client({ credentials: { accessKeyId: "NOBODY", secretAccessKey: secret } });
    await refused(nobody.send(new s3.ListBucketsCommand({})), "InvalidAccessKeyId", 403);
  },

  async buckets_are_made_and_removed() {
    await send(new s3.CreateBucketCommand({ Bucket: "js-bucket" }));
    const { Buckets } = await send(new s3.ListBucketsCommand({}));
    assert.ok(Buckets.some((b) => b.Name === "js-bucket"));
    await send(new s3.DeleteBucketCommand({ Bucket: "js-bucket" }));
  },
};

async function main() {
  let failed = 0;
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test();
      console.log(`ok       ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED   ${name}\n${error.stack}`);
    }
  }
  console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
main();

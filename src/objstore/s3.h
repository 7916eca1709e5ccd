/* s3.h — the object store that speaks the S3 API (AWS, MinIO, Ceph, R2, GCS, Oracle, versitygw).
 *
 * Own Signature Version 4 over libcurl; see objstore_s3.c for what differs between servers and the
 * rules that make one client right for all. Retries of what is transient are inside: exponential
 * backoff with full jitter (resil/retry.h), bounded by `deadline_ms`. A 403 fails at once.
 */
#pragma once
#include "metrics/metrics.h"
#include "objstore/objstore.h"

struct ak_s3_options {
    const char *endpoint;      /* "https://s3.eu-central-1.amazonaws.com", "http://127.0.0.1:9000";
                                * NULL or "": AWS in `region` */
    const char *region;        /* NULL: "us-east-1" */
    const char *bucket;        /* required; must exist */
    const char *prefix;        /* put before every key, may be NULL; "akidb/prod/" */
    const char *access_key_id; /* NULL: the provider chain (environment, web identity, profile,
                                * container, instance) */
    const char *secret_access_key;
    const char *session_token;
    const char *profile;       /* NULL: AWS_PROFILE, then "default" */
    const char *ca_file;       /* NULL: the system's */
    const char *uploads_under; /* below the prefix: multipart uploads with such keys are ours alone;
                                * those begun over a day ago are aborted at open. With neither
                                * this nor a prefix none are */
    bool virtual_host;         /* bucket in the host name; default: in the path */
    uint32_t connections_max;  /* 0: 16 */
    uint32_t connect_timeout_ms;  /* 0: 5,000 */
    uint32_t stall_timeout_ms;    /* no byte for so long breaks a transfer; 0: 15,000 */
    uint32_t deadline_ms;         /* one call with all its retries (not counting bytes that move);
                                   * 0: 60,000 */
    uint32_t retries_max;         /* 0: 5 */
    uint64_t multipart_bytes;     /* larger objects are sent in parts; 0: 64 MiB. Servers want parts
                                   * of 5 MiB at least, so it should not be less */
    bool unsigned_payload;        /* https only: bodies are not hashed for the signature */
    const struct ak_clock *clock; /* NULL: the system's */
    /* Set at the end of the process: calls under way, and all after it, fail within 100 ms. May be
     * NULL; outlives the store. */
    const _Atomic bool *stop;
    struct ak_log *log;
    struct ak_metrics *metrics;
};

/* Checks credentials, region, clock and bucket with one request, and probes conditional puts. A
 * store that is away is no error here when `lazy` (it is asked again at first use). */
AK_MUST enum ak_rc ak_objstore_open_s3(const struct ak_s3_options *options, bool lazy,
                                       struct ak_objstore **store, struct ak_err *err);

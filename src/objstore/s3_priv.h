/* s3_priv.h — what the files of the S3 store share.
 *
 *   objstore_s3.c   open, close, the table of operations; the small ones
 *   s3_place.c      endpoint, bucket, region → URL, Host, path
 *   s3_request.c    one request: signed, sent, understood, repaired, tried again
 *   s3_error.c      what an answer means
 *   s3_get.c        bodies that come, over broken connections
 *   s3_put.c        bodies that go, whole or conditional
 *   s3_multipart.c  bodies that go in parts        s3_work.c   parts on several threads
 *   s3_writer.c     a body of unknown length       s3_list.c   listings
 */
#pragma once
#include "base/mem.h"
#include "base/pool.h"
#include "base/sync.h"
#include "httpc/httpc.h"
#include "objstore/objstore_priv.h"
#include "objstore/s3.h"
#include "objstore/s3_creds.h"
#include "objstore/s3xml.h"
#include "objstore/sigv4.h"
#include "resil/retry.h"
#include <stdatomic.h>
#include <string.h>

#define S3_PART_BYTES ((uint64_t)16 << 20)       /* of a file; larger when 10,000 would not do */
#define S3_WRITER_PART_BYTES ((uint64_t)8 << 20) /* in memory, three at most */
#define S3_PARTS_MAX 10000
#define S3_PART_BYTES_MAX ((uint64_t)5 << 30)
#define S3_HELPERS 3 /* threads besides the caller's that move parts */
#define S3_URL_MAX ((size_t)16 << 10)
#define S3_HEADERS_MAX 16
#define S3_WRITE_ID_MAX 40
#define S3_WRITE_ID_HEADER "x-amz-meta-akidb-write"

/* --- Where (s3_place.c) --- */

struct s3_place { /* never freed before the store is closed: requests point into it */
    struct ak_sigv4 signer;
    char *base; /* "https://host:port" */
    char *host; /* as in the Host header: default ports are left out */
    char *root; /* what comes before "/key": "", "/bucket", "/path/bucket" */
    struct s3_place *older;
};
AK_MUST enum ak_rc ak_s3_place_new(const char *endpoint, const char *region, const char *bucket,
                                   bool virtual_host, struct s3_place **place, struct ak_err *err);
void ak_s3_place_free(struct s3_place *place); /* and all older ones */

enum s3_conditional { S3_COND_UNKNOWN, S3_COND_HEADER, S3_COND_GENERATION, S3_COND_NONE };

struct s3_store {
    struct ak_objstore base;
    struct ak_httpc *client;
    struct ak_s3_creds *creds;
    struct ak_pool *pool;
    const struct ak_clock *clock;
    struct ak_log *log;
    struct ak_metrics *metrics;
    struct ak_series *upload_seconds;
    struct ak_series *upload_bytes;
    struct ak_retry_policy policy;
    struct ak_retry_bucket bucket_of_tokens;
    char *endpoint; /* NULL: AWS */
    char *bucket;
    char *prefix;        /* "" or what comes before every key */
    char *uploads_under; /* with the prefix: where unfinished uploads are ours; "": nowhere */
    bool virtual_host;
    bool unsigned_payload;
    const _Atomic bool *stop; /* the opener's, or NULL */
    uint32_t connect_ms;
    uint32_t stall_ms;
    uint32_t quiet_ms; /* silence that makes one ask whether the server is there; of that question,
                          all */
    uint64_t multipart_bytes;
    uint64_t part_bytes;
    struct ak_mutex mutex; /* over a change of place */
    _Atomic(struct s3_place *) place;
    _Atomic int64_t skew_us;    /* the server's clock less ours; 0 until one complained */
    _Atomic int conditional;    /* enum s3_conditional */
    _Atomic bool is_away;       /* known by the guard: no call is tried again */
    void (*trouble)(void *ctx); /* the guard's, told of every failed try; NULL: nobody's */
    void *trouble_ctx;
};

/* What the tests put in place of the network, the clock's sleep and the environment. */
struct s3_seams {
    struct ak_httpc *client; /* taken; NULL: libcurl */
    bool (*sleep)(void *ctx, int64_t us);
    void *ctx;
    const char *(*env)(const char *name);
};
AK_MUST enum ak_rc ak_s3_open_with(const struct ak_s3_options *options, bool lazy,
                                   const struct s3_seams *seams, struct ak_objstore **store,
                                   struct ak_err *err);

/* --- What an answer means (s3_error.c) --- */

enum s3_repair {
    S3_REPAIR_NONE,
    S3_REPAIR_CLOCK,
    S3_REPAIR_CREDENTIALS,
    S3_REPAIR_REGION,
    S3_REPAIR_REDIRECT
};
struct s3_meaning {
    enum ak_rc rc;
    enum ak_retry_kind kind;
    enum s3_repair repair;
    const char *advice; /* may be NULL */
};
struct s3_meaning ak_s3_meaning(int status, struct ak_str code);
struct s3_meaning ak_s3_meaning_of_failure(enum ak_httpc_failure failure, enum ak_rc rc);

/* --- Requests (s3_request.c) --- */

struct s3_call {
    const char *operation; /* for messages and the metric: "put", "upload_part" */
    const char *method;
    struct ak_str key; /* empty: the bucket */
    const char *query; /* percent-encoded; NULL: none */
    const struct ak_httpc_header *headers;
    size_t header_count;
    struct ak_str body;
    ak_httpc_read_fn read;
    uint64_t body_len;
    const char *body_hash; /* hex of the body; NULL: it is in memory, and is hashed */
    ak_httpc_head_fn on_head;
    ak_httpc_body_fn on_body;
    void *ctx;
    size_t body_max;
    uint32_t stall_ms; /* 0: the store's */
    const _Atomic bool *cancel;
    bool may_say_error;   /* a 200 may carry <Error> */
    const char *write_id; /* a conditional put, which carries this id: a 412 may be our own */
};

struct s3_series { /* one operation, with all its tries */
    struct ak_retry retry;
    struct ak_httpc_response response; /* of the last try */
    char code[64];                     /* its <Code>, "" when there was none */
    struct s3_meaning meaning;
    uint32_t after_ms; /* its Retry-After */
    unsigned redirects;
    unsigned clock_repairs;
    unsigned credential_repairs;
    unsigned region_repairs;
    bool may_have_happened; /* this try, or one before it, broke after it was sent */
    struct ak_buf redirect; /* URL that a 307 gave; empty: none */
};

void ak_s3_series_start(struct s3_store *store, struct s3_series *series);
void ak_s3_series_release(struct s3_series *series);
/* One request. AK_OK: 2xx. Repairs what can be repaired and says so in meaning.kind. */
enum ak_rc ak_s3_try(struct s3_store *store, const struct s3_call *call, struct s3_series *series,
                     struct ak_err *err);
/* After a failed try: shall there be another? Waits; counts it. */
bool ak_s3_again(struct s3_store *store, const struct s3_call *call, struct s3_series *series,
                 struct ak_err *err);
/* Tries until it works or may not be tried again. `series` is started by it, released by the caller
 * (who may read the answer first), whatever it returns. */
enum ak_rc ak_s3_do(struct s3_store *store, const struct s3_call *call, struct s3_series *series,
                    struct ak_err *err);
/* The SHA-256 of `len` bytes, all read through `read`, in hexadecimal. */
enum ak_rc ak_s3_hash(ak_httpc_read_fn read, void *ctx, uint64_t len, char hex[65],
                      struct ak_err *err);
int64_t ak_s3_http_date_us(struct ak_str text); /* "Sun, 06 Nov 1994 08:49:37 GMT"; < 0: none */

/* --- Parts on several threads (s3_work.c) --- */

struct s3_work;
typedef enum ak_rc (*s3_part_fn)(struct s3_work *work, void *ctx, uint32_t part,
                                 struct ak_err *err);
/* Calls `fn` for each part 0..parts-1, here and on up to S3_HELPERS threads of the pool; the first
 * failure stops the rest and is returned. `progress` is told on the calling thread only. */
enum ak_rc ak_s3_work_run(struct s3_store *store, uint32_t parts, s3_part_fn fn, void *ctx,
                          uint64_t total, ak_objstore_progress progress, void *progress_ctx,
                          struct ak_err *err);
/* From a part: bytes that moved for the first time. AK_CONFLICT: stop. */
enum ak_rc ak_s3_work_moved(struct s3_work *work, uint64_t bytes, struct ak_err *err);
const _Atomic bool *ak_s3_work_cancel(const struct s3_work *work);

/* --- Bodies --- */

/* Bytes [from, end) of the object; end UINT64_MAX: to its end. `sink` gets them in order, each
 * once. etag (may be NULL): the object must be this one. AK_CONFLICT: it was replaced on the way.
 */
struct s3_fetch {
    struct ak_str key;
    uint64_t from;
    uint64_t end;
    struct ak_buf *etag;
    enum ak_rc (*sink)(void *ctx, uint64_t at, struct ak_str bytes, struct ak_err *err);
    enum ak_rc (*on_size)(void *ctx, uint64_t len, struct ak_err *err); /* once; may be NULL */
    void *ctx;
    const _Atomic bool *cancel;
};
enum ak_rc ak_s3_fetch(struct s3_store *store, const struct s3_fetch *fetch, struct ak_err *err);

struct s3_source { /* what is uploaded: memory or a file */
    const char *p;
    struct ak_file *file;
    uint64_t size;
};
enum ak_rc ak_s3_source_read(const struct s3_source *source, uint64_t at, void *p, size_t len,
                             struct ak_err *err);
struct s3_upload {
    struct ak_str key;
    const struct s3_source *source;
    const struct ak_objstore_put_options *options;
    ak_objstore_progress progress; /* may be NULL */
    void *ctx;
};
enum ak_rc ak_s3_upload(struct s3_store *store, const struct s3_upload *upload, struct ak_err *err);

void ak_s3_write_id(char id[S3_WRITE_ID_MAX]);
/* The headers of a put, or of the start of an upload in parts: content type and write id. The
 * condition goes with what makes the object visible. Returns the count. */
size_t ak_s3_put_headers(const struct ak_objstore_put_options *options, const char *write_id,
                         struct ak_httpc_header headers[S3_HEADERS_MAX]);
AK_MUST enum ak_rc ak_s3_condition(struct s3_store *store, struct ak_httpc_header *header,
                                   struct ak_err *err);
AK_MUST enum ak_rc ak_s3_probe(struct s3_store *store, struct ak_err *err);
/* Is the object there, and did the write `id` make it? AK_NOT_FOUND: it is not there. */
enum ak_rc ak_s3_is_ours(struct s3_store *store, struct ak_str key, const char *id, bool *ours,
                         struct ak_err *err);

struct s3_multipart {
    struct s3_store *store;
    struct ak_str key;
    struct ak_buf upload_id; /* percent-encoded */
    struct ak_buf *etags;    /* by part, parts_max of them */
    uint32_t parts_max;
    char write_id[S3_WRITE_ID_MAX];
};
enum ak_rc ak_s3_multipart_start(struct s3_multipart *m, struct s3_store *store, struct ak_str key,
                                 const struct ak_objstore_put_options *options, uint32_t parts_max,
                                 struct ak_err *err);
/* Part 0.. of `source`; several threads at once, each its own part. */
enum ak_rc ak_s3_multipart_part(struct s3_multipart *m, uint32_t part,
                                const struct s3_source *source, uint64_t from, uint64_t len,
                                struct s3_work *work, const _Atomic bool *cancel,
                                struct ak_err *err);
enum ak_rc ak_s3_multipart_complete(struct s3_multipart *m, uint32_t parts, bool only_if_absent,
                                    struct ak_err *err);
void ak_s3_multipart_abort(struct s3_multipart *m); /* at the server, best effort */
void ak_s3_multipart_release(struct s3_multipart *m);
void ak_s3_remove_leftovers(struct s3_store *store); /* uploads begun long ago; best effort */
enum ak_rc ak_s3_remove_parts(struct ak_objstore *base, struct ak_str key, struct ak_err *err);

/* --- The table --- */

enum ak_rc ak_s3_get(struct ak_objstore *base, struct ak_str key, struct ak_buf *out,
                     struct ak_err *err);
enum ak_rc ak_s3_get_range(struct ak_objstore *base, struct ak_str key, uint64_t from, void *p,
                           size_t len, struct ak_err *err);
enum ak_rc ak_s3_get_file(struct ak_objstore *base, struct ak_str key, struct ak_fs *fs,
                          const char *path, ak_objstore_progress progress, void *ctx,
                          struct ak_err *err);
enum ak_rc ak_s3_list(struct ak_objstore *base, struct ak_str prefix, struct ak_str after,
                      size_t limit, struct ak_arena *arena, struct ak_object **objects,
                      size_t *count, struct ak_err *err);
enum ak_rc ak_s3_create(struct ak_objstore *base, struct ak_str key,
                        const struct ak_objstore_put_options *options,
                        struct ak_objstore_writer **writer, struct ak_err *err);

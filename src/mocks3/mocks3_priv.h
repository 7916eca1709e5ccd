/* mocks3_priv.h — a request's way through the server, as its files see it.
 *
 *   on_head   read.c    which operation, bucket, key      rules.c  does a rule decide?
 *             auth.c    who signed it                     ops_*.c  `begin`: may its body come?
 *   on_chunk  body.c    aws-chunked, checksums, the sink or the document
 *   on_end    body.c    does the body keep what its headers promise?
 *             ops_*.c   `run`: the operation, on the loop, or on a worker when it copies data
 *             reply.c   the answer, as it is or as a rule wants it
 *
 * A call lives in its request's arena and belongs to whoever carries the request: the loop until
 * on_end, then whoever answers. After the answer nobody touches it but on_done.
 */
#pragma once
#include "base/limits.h"
#include "base/pool.h"
#include "mocks3/awschunked.h"
#include "mocks3/delay.h"
#include "mocks3/mocks3.h"
#include "mocks3/rules.h"
#include "mocks3/sigv4.h"
#include "mocks3/store.h"
#include "mocks3/sums.h"
#include "mocks3/xml.h"
#include "net/http.h"

#define AK_MOCK_OBJECT_MAX ((uint64_t)5 << 30) /* of one put or part, as S3 */
#define AK_MOCK_DOCUMENT_MAX                                                                       \
    ((size_t)8 << 20) /* of a request's XML: 10,000 parts with checksums                           \
                       */
#define AK_MOCK_PARAMS_MAX 64u
#define AK_MOCK_METADATA_MAX 2048u /* names and values of x-amz-meta-…, as S3 */
#define AK_MOCK_HANG_MS 600000u    /* how long an answer that never comes is kept from its client */
#define AK_MOCK_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

enum ak_mock_op {
#define AK_MOCK_OP(name, method, level, parameter, body) AK_MOCK_OP_##name,
#include "mocks3/ops.def"
#undef AK_MOCK_OP
    AK_MOCK_OP_COUNT,
    AK_MOCK_OP_NONE = AK_MOCK_OP_COUNT /* none that is spoken here */
};
enum ak_mock_body { AK_MOCK_BODY_NONE, AK_MOCK_BODY_XML, AK_MOCK_BODY_DATA };

struct ak_mocks3 {
    struct ak_mock_store *store;
    struct ak_mock_rules *rules;
    struct ak_mock_delay *delay;
    struct ak_pool *pool;
    struct ak_http_server *http;
    const struct ak_clock *clock;
    struct ak_log *log;
    char *access_key; /* NULL: signatures are not checked */
    char *secret_key;
    char *region;
    char *domain;
    _Atomic uint64_t next_request;
    _Atomic uint64_t counts[AK_MOCK_OP_COUNT + 1];
    _Atomic uint64_t errors_4xx;
    _Atomic uint64_t errors_5xx;
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
};

struct ak_mock_param {
    struct ak_str name;
    struct ak_str value;
};

struct ak_mock_call {
    struct ak_mocks3 *server;
    struct ak_http_request *request;
    struct ak_arena *arena;
    struct ak_mock_fault fault;
    uint64_t number;
    bool is_admin;

    /* read.c */
    enum ak_mock_op op;
    struct ak_str bucket;
    struct ak_str key;
    struct ak_mock_param params[AK_MOCK_PARAMS_MAX];
    size_t param_count;
    struct ak_mock_sigv4_field *headers;
    size_t header_count;

    /* auth.c */
    struct ak_mock_sigv4_auth auth;
    bool is_verified; /* by `key`, so chunks must be signed with it */
    uint8_t signing_key[AK_MOCK_SIGV4_KEY_BYTES];

    /* What goes wrong. */
    struct ak_mock_action action;
    bool has_action;
    struct ak_mock_timer timer;
    int64_t body_began_ns; /* of a body that is read slowly */

    /* body.c */
    enum ak_mock_body body;
    struct ak_mock_chunked *chunked; /* NULL: not aws-chunked */
    struct ak_mock_sums sums;
    struct ak_mock_sums chunk_sums;
    char chunk_expected[AK_MOCK_SIGV4_TEXT];
    char chunk_before[AK_MOCK_SIGV4_TEXT];
    struct ak_buf trailer_text; /* "name:value\n…": what is signed */
    bool trailer_is_signed;
    struct ak_mock_sink sink;
    struct ak_buf document;
    uint64_t received; /* bytes on the wire */
    uint64_t expected; /* of the data; UINT64_MAX: unknown */
    uint64_t size;     /* of the data so far */
    bool has_md5;
    uint8_t md5[16];
    uint8_t computed_md5[16];
    uint8_t payload[32]; /* x-amz-content-sha256, when it is a hash */
    bool has_payload;
    enum ak_mock_sum sum; /* of x-amz-checksum-…; NONE */
    bool has_sum_value;
    struct ak_str sum_value; /* base64 as given */
    char sum_computed[AK_MOCK_SUM_TEXT_MAX];

    /* ops: what is decided before the body comes */
    struct ak_str item_headers;
    struct ak_mock_condition condition;
    struct ak_mock_item *head; /* of the upload that a part goes to */
    unsigned part_number;
    enum ak_mock_sum upload_sum; /* the upload's algorithm; NONE */
    enum ak_mock_sum
        object_sum; /* CompleteMultipartUpload: of the whole object, as the head claims */
    struct ak_str object_sum_value;
    bool discards; /* the body means nothing: a rule has decided */
};

/* --- read.c --- */
/* Operation, bucket, key, parameters. */
AK_MUST enum ak_mock_code ak_mock_read_head(struct ak_mock_call *call);
const char *ak_mock_op_name(enum ak_mock_op op);
enum ak_mock_body ak_mock_op_body(enum ak_mock_op op);
/* .p NULL: absent. */
struct ak_str ak_mock_param_of(const struct ak_mock_call *call, const char *name);
struct ak_str ak_mock_header_of(const struct ak_mock_call *call, const char *name);
/* A number of at most `max`, or `otherwise` when it is absent. InvalidArgument. */
AK_MUST enum ak_mock_code ak_mock_param_number(struct ak_mock_call *call, const char *name,
                                               uint64_t max, uint64_t otherwise, uint64_t *out);
struct ak_str ak_mock_without_quotes(struct ak_str etag);

/* --- auth.c --- */
AK_MUST enum ak_mock_code ak_mock_authorize(struct ak_mock_call *call);

/* --- body.c --- */
AK_MUST enum ak_mock_code ak_mock_body_begin(struct ak_mock_call *call);
AK_MUST enum ak_mock_code ak_mock_body_add(struct ak_mock_call *call, struct ak_str bytes);
AK_MUST enum ak_mock_code ak_mock_body_end(struct ak_mock_call *call);
void ak_mock_body_release(struct ak_mock_call *call); /* idempotent */
/* The MD5 of the data, in hexadecimal, after body_end. */
void ak_mock_body_etag(const struct ak_mock_call *call, char etag[33]);

/* --- headers.c: what an object remembers of the request that made it --- */
/* "Content-Type: …\r\n…" in the arena. */
AK_MUST enum ak_mock_code ak_mock_take_headers(struct ak_mock_call *call, struct ak_str *headers);
/* Refuse what would be ignored: encryption, tags, locks, grants. */
AK_MUST enum ak_mock_code ak_mock_check_headers(struct ak_mock_call *call);
/* The value of a line; .p NULL: there is none of that name. */
struct ak_str ak_mock_line_of(struct ak_str lines, struct ak_str name);
/* If-Match and If-None-Match of a write. */
AK_MUST enum ak_mock_code ak_mock_take_condition(struct ak_mock_call *call,
                                                 struct ak_mock_condition *condition);
/* If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since of a read, or with "prefix" those
 * of a copy's source. NotModified and PreconditionFailed. */
AK_MUST enum ak_mock_code ak_mock_check_read(struct ak_mock_call *call, const char *prefix,
                                             const struct ak_mock_item *item);
#define AK_MOCK_DATE_MAX 32
const char *ak_mock_http_date(int64_t us, char text[AK_MOCK_DATE_MAX]);
const char *ak_mock_iso_date(int64_t us, char text[AK_MOCK_DATE_MAX]);

/* --- reply.c: each answers, and the call is not to be touched after it --- */
/* Takes the document; `headers` may be NULL. */
void ak_mock_reply_xml(struct ak_mock_call *call, int status, struct ak_buf *xml,
                       struct ak_buf *headers);
void ak_mock_reply_empty(struct ak_mock_call *call, int status, struct ak_buf *headers);
/* Takes the view; of it, [from, from + len). */
void ak_mock_reply_view(struct ak_mock_call *call, int status, struct ak_mock_view *view,
                        uint64_t from, uint64_t len, struct ak_buf *headers);
/* HEAD: no bytes, but their number. */
void ak_mock_reply_length(struct ak_mock_call *call, int status, uint64_t len,
                          struct ak_buf *headers);
void ak_mock_reply_json(struct ak_mock_call *call, int status, struct ak_buf *json);
/* call->fault, or the error that a rule wants. */
void ak_mock_reply_fault(struct ak_mock_call *call);
void ak_mock_reply_action(struct ak_mock_call *call);
/* <?xml …?><root xmlns="…"> */
void ak_mock_xml_begin(struct ak_buf *out, const char *root);

/* --- ops_bucket.c --- */
bool ak_mock_bucket_name_is_valid(struct ak_str name);

/* --- server.c --- */
/* Run `fn` on a worker; answers SlowDown when there are too many jobs. */
void ak_mock_to_worker(struct ak_mock_call *call, void (*fn)(void *call));

/* --- admin.c --- */
void ak_mock_admin(struct ak_mock_call *call, struct ak_str body);

/* --- ops_*.c --- */
struct ak_mock_handler {
    enum ak_mock_code (*begin)(struct ak_mock_call *call); /* before the body; may be NULL */
    void (*run)(struct ak_mock_call *call);                /* answers */
};
extern const struct ak_mock_handler ak_mock_handlers[AK_MOCK_OP_COUNT];
#define AK_MOCK_OP(name, method, level, parameter, body)                                           \
    void ak_mock_run_##name(struct ak_mock_call *call);
#include "mocks3/ops.def"
#undef AK_MOCK_OP
enum ak_mock_code ak_mock_begin_PutObject(struct ak_mock_call *call);
enum ak_mock_code ak_mock_begin_UploadPart(struct ak_mock_call *call);
/* "x-amz-checksum-…: value\r\nx-amz-checksum-type: FULL_OBJECT\r\n" */
void ak_mock_put_sum(struct ak_buf *out, enum ak_mock_sum sum, const char *value, const char *type);
/* The same as elements of a result: <ChecksumCRC32>…</ChecksumCRC32><ChecksumType>…. */
void ak_mock_put_sum_elements(struct ak_buf *out, struct ak_str lines, bool with_type);

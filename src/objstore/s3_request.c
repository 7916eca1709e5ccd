/* s3_request.c — one request: signed, sent, understood, repaired, tried again.
 *
 * Repairs, each at most once in a series, and no wait before the next try:
 *   clock        403 RequestTimeTooSkewed: the offset to the server's Date is kept and used
 *   credentials  ExpiredToken: the provider chain is asked again
 *   region       301, AuthorizationHeaderMalformed: what x-amz-bucket-region or <Region> says
 *   redirect     307 (three times): signed for the host of Location, for this request only
 */
#include "base/encode.h"
#include "base/hash.h"
#include "objstore/s3_priv.h"
#include <stdio.h>

#define REDIRECTS_MAX 3
#define SKEW_SEEN_US (5LL * 60 * 1000000) /* a 403 without a code and with a Date so far off */
#define RETRY_AFTER_MS_MAX 20000
#define SHOWN_MESSAGE 180

void ak_s3_series_start(struct s3_store *store, struct s3_series *series)
{
    *series = (struct s3_series){.clock_repairs = 0};
    ak_retry_start(&series->retry, &store->policy, &store->bucket_of_tokens);
    ak_httpc_response_init(&series->response);
    ak_buf_init(&series->redirect, S3_URL_MAX);
}

void ak_s3_series_release(struct s3_series *series)
{
    ak_httpc_response_release(&series->response);
    ak_buf_release(&series->redirect);
}

/* --- Dates --- */

static bool digits(struct ak_str s, uint64_t max, int64_t *out)
{
    uint64_t value = 0;
    if (!ak_str_u64(s, max, &value)) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

int64_t ak_s3_http_date_us(struct ak_str text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char iso[AK_TIME_TEXT_MAX];
    int64_t day = 0;
    int64_t year = 0;
    int64_t us = 0;
    text = ak_str_trim(text);
    if (text.len != 29 || !digits(ak_str_sub(text, 5, 2), 31, &day) ||
        !digits(ak_str_sub(text, 12, 4), 9999, &year)) {
        return -1;
    }
    for (int month = 0; month < 12; month++) {
        if (memcmp(months + (size_t)month * 3, text.p + 8, 3) == 0) {
            (void)snprintf(iso, sizeof iso, "%04d-%02d-%02dT%.8sZ", (int)year, month + 1, (int)day,
                           text.p + 17);
            return ak_time_parse(ak_str_of(iso), &us) ? us : -1;
        }
    }
    return -1;
}

/* --- Hashes of bodies that are not in memory --- */

enum ak_rc ak_s3_hash(ak_httpc_read_fn read, void *ctx, uint64_t len, char hex[65],
                      struct ak_err *err)
{
    uint8_t digest[32];
    enum ak_rc rc = ak_sha256_read(read, ctx, len, digest, err);
    if (rc == AK_OK) {
        ak_hex(digest, sizeof digest, hex);
    }
    return rc;
}

/* --- One signed request --- */

struct signed_request {
    struct ak_buf url;
    struct ak_buf path;
    struct ak_buf host;
    struct ak_buf authorization;
    char date[AK_SIGV4_DATE_MAX];
    char hash[65];
    struct ak_httpc_header headers[S3_HEADERS_MAX + 8];
    size_t header_count;
};

static void signed_init(struct signed_request *s)
{
    ak_buf_init(&s->url, S3_URL_MAX);
    ak_buf_init(&s->path, S3_URL_MAX);
    ak_buf_init(&s->host, S3_URL_MAX);
    ak_buf_init(&s->authorization, S3_URL_MAX);
    s->header_count = 0;
}

static void signed_release(struct signed_request *s)
{
    ak_buf_release(&s->url);
    ak_buf_release(&s->path);
    ak_buf_release(&s->host);
    ak_buf_release(&s->authorization);
}

/* "https://host/path?query" that a redirect gave: where else to go with the same request. */
static void address_of_redirect(struct signed_request *s, struct ak_str url)
{
    size_t scheme = ak_str_has_prefix(url, AK_STR("https://")) ? 8 : 7;
    struct ak_str rest = ak_str_sub(url, scheme, SIZE_MAX);
    struct ak_str before;
    struct ak_str query;
    const char *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
    size_t host_len = slash ? (size_t)(slash - rest.p) : rest.len;
    struct ak_str host = ak_str_sub(rest, 0, host_len);
    ak_buf_add_str(&s->url, ak_str_sub(url, 0, scheme + host_len));
    if (ak_str_has_suffix(host, scheme == 8 ? AK_STR(":443") : AK_STR(":80"))) {
        host.len -= scheme == 8 ? 4 : 3;
    }
    ak_buf_add_str(&s->host, host);
    ak_str_split(ak_str_sub(rest, host_len, SIZE_MAX), '?', &before, &query);
    ak_buf_add_str(&s->path, before.len ? before : AK_STR("/"));
}

static void address(struct s3_store *store, const struct s3_place *place,
                    const struct s3_call *call, const struct s3_series *series,
                    struct signed_request *s)
{
    if (series->redirect.len) {
        address_of_redirect(s, ak_buf_str(&series->redirect));
    } else {
        ak_buf_add_str(&s->url, ak_str_of(place->base));
        ak_buf_add_str(&s->host, ak_str_of(place->host));
        ak_buf_add_str(&s->path, ak_str_of(place->root));
        if (call->key.len) {
            ak_buf_add_char(&s->path, '/');
            ak_sigv4_encode(&s->path, ak_str_of(store->prefix), true);
            ak_sigv4_encode(&s->path, call->key, true);
        } else if (s->path.len == 0) {
            ak_buf_add_char(&s->path, '/');
        }
    }
    ak_buf_add_str(&s->url, ak_buf_str(&s->path));
    if (call->query) {
        ak_buf_add_char(&s->url, '?');
        ak_buf_add_str(&s->url, ak_str_of(call->query));
    }
}

static void add_header(struct signed_request *s, struct ak_str name, struct ak_str value)
{
    s->headers[s->header_count++] = (struct ak_httpc_header){name, value};
}

static void hash_body(const struct s3_store *store, const struct s3_call *call,
                      struct signed_request *s)
{
    bool is_tls = ak_str_has_prefix(ak_buf_str(&s->url), AK_STR("https://"));
    bool has_body = call->read || call->body.len;
    if (has_body && store->unsigned_payload && is_tls) {
        (void)snprintf(s->hash, sizeof s->hash, "%s", AK_SIGV4_UNSIGNED);
    } else if (call->body_hash) {
        (void)snprintf(s->hash, sizeof s->hash, "%s", call->body_hash);
    } else if (has_body) {
        ak_sigv4_hash(call->body.p, call->body.len, s->hash);
    } else {
        (void)snprintf(s->hash, sizeof s->hash, "%s", AK_SIGV4_EMPTY_HASH);
    }
}

static enum ak_rc sign(struct s3_store *store, const struct s3_call *call,
                       const struct s3_series *series, const struct ak_s3_keys *keys,
                       int64_t time_us, struct signed_request *s, struct ak_err *err)
{
    /* Acquire: pairs with the release in move_to_region; a place is whole once it is seen. */
    struct s3_place *place = atomic_load_explicit(&store->place, memory_order_acquire);
    const struct ak_sigv4_keys who = {keys->id, keys->secret, keys->token};
    struct ak_sigv4_header headers[S3_HEADERS_MAX + 8];
    AK_ASSERT(call->header_count <= S3_HEADERS_MAX);
    address(store, place, call, series, s);
    enum ak_rc rc = ak_buf_check(&s->url, err);
    rc = rc == AK_OK ? ak_buf_check(&s->host, err) : rc;
    rc = rc == AK_OK ? ak_buf_check(&s->path, err) : rc;
    if (rc != AK_OK) {
        return rc;
    }
    hash_body(store, call, s);
    ak_sigv4_date(time_us, s->date);
    add_header(s, AK_STR("Host"), ak_buf_str(&s->host));
    add_header(s, AK_STR("x-amz-content-sha256"), ak_str_of(s->hash));
    add_header(s, AK_STR("x-amz-date"), ak_str_of(s->date));
    if (keys->token.len) {
        add_header(s, AK_STR("x-amz-security-token"), keys->token);
    }
    for (size_t i = 0; i < call->header_count; i++) {
        add_header(s, call->headers[i].name, call->headers[i].value);
    }
    for (size_t i = 0; i < s->header_count; i++) {
        headers[i] = (struct ak_sigv4_header){s->headers[i].name, s->headers[i].value};
    }
    const struct ak_sigv4_request request = {.method = ak_str_of(call->method),
                                             .path = ak_buf_str(&s->path),
                                             .query = ak_str_of(call->query),
                                             .headers = headers,
                                             .header_count = s->header_count,
                                             .body_hash = ak_str_of(s->hash),
                                             .time_us = time_us};
    rc = ak_sigv4_sign(&place->signer, &who, &request, &s->authorization, err);
    add_header(s, AK_STR("Authorization"), ak_buf_str(&s->authorization));
    return rc;
}

/* --- Repairs --- */

static bool repair_clock(struct s3_store *store, struct s3_series *series)
{
    int64_t date_us = ak_s3_http_date_us(ak_httpc_header(&series->response, "date"));
    if (date_us < 0 || series->clock_repairs++ > 0) {
        return false;
    }
    int64_t skew_us = date_us - ak_now_us(store->clock);
    /* Relaxed: a time of its own, which orders nothing. */
    atomic_store_explicit(&store->skew_us, skew_us, memory_order_relaxed);
    ak_log_warn(store->log, "s3",
                "this machine's clock is off by %lld s: signing with the server's",
                (long long)(-skew_us / 1000000));
    return true;
}

static bool is_region(struct ak_str text)
{
    bool good = text.len > 0 && text.len <= 64;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        good = good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
    }
    return good;
}

static bool move_to_region(struct s3_store *store, const char *region)
{
    struct s3_place *next = NULL;
    bool moved = true;
    ak_mutex_lock(&store->mutex);
    struct s3_place *now = atomic_load_explicit(&store->place, memory_order_relaxed);
    if (strcmp(now->signer.region, region) != 0) {
        moved = ak_s3_place_new(store->endpoint, region, store->bucket, store->virtual_host, &next,
                                NULL) == AK_OK;
        if (moved) {
            next->older = now;
            atomic_store_explicit(&store->place, next, memory_order_release);
        }
    }
    ak_mutex_unlock(&store->mutex);
    return moved;
}

static bool repair_region(struct s3_store *store, struct s3_series *series)
{
    struct ak_buf region;
    bool repaired = false;
    ak_buf_init(&region, 256);
    ak_buf_add_str(&region, ak_httpc_header(&series->response, "x-amz-bucket-region"));
    if (region.len || ak_xml_find(ak_buf_str(&series->response.body), "Error/Region", &region)) {
        if (is_region(ak_buf_str(&region)) && series->region_repairs++ == 0) {
            repaired = move_to_region(store, ak_buf_cstr(&region));
            ak_log_info(store->log, "s3", "bucket '%s' is in region %s: set it to save a request",
                        store->bucket, ak_buf_cstr(&region));
        }
    }
    ak_buf_release(&region);
    return repaired;
}

static bool repair_redirect(struct s3_series *series, bool from_tls)
{
    struct ak_str to = ak_httpc_header(&series->response, "location");
    bool is_tls = ak_str_has_prefix(to, AK_STR("https://"));
    if ((!is_tls && (from_tls || !ak_str_has_prefix(to, AK_STR("http://")))) ||
        series->redirects++ >= REDIRECTS_MAX) {
        return false;
    }
    ak_buf_clear(&series->redirect);
    ak_buf_add_str(&series->redirect, to);
    return !series->redirect.failed;
}

static bool repair(struct s3_store *store, struct s3_series *series, const struct ak_s3_keys *keys,
                   bool from_tls)
{
    switch (series->meaning.repair) {
    case S3_REPAIR_CLOCK:
        return repair_clock(store, series);
    case S3_REPAIR_CREDENTIALS:
        return series->credential_repairs++ == 0 && ak_s3_creds_expired(store->creds, keys);
    case S3_REPAIR_REGION:
        return repair_region(store, series);
    case S3_REPAIR_REDIRECT:
        return repair_redirect(series, from_tls);
    case S3_REPAIR_NONE:
        break;
    }
    return false;
}

/* --- Understanding --- */

static void read_code(struct s3_series *series)
{
    struct ak_buf code;
    ak_buf_init(&code, sizeof series->code - 1);
    series->code[0] = 0;
    if (ak_xml_find(ak_buf_str(&series->response.body), "Error/Code", &code)) {
        (void)snprintf(series->code, sizeof series->code, "%s", ak_buf_cstr(&code));
    }
    ak_buf_release(&code);
}

/* A HEAD has no body and so no code: the clock and the age of the keys are looked at. */
static void guess_without_code(struct s3_series *series, const struct s3_call *call,
                               const struct ak_s3_keys *keys, int64_t time_us)
{
    int status = series->response.status;
    int64_t date_us = ak_s3_http_date_us(ak_httpc_header(&series->response, "date"));
    int64_t off_us = date_us > time_us ? date_us - time_us : time_us - date_us;
    if (series->code[0] || strcmp(call->method, "HEAD") != 0 || (status != 403 && status != 400)) {
        return;
    }
    if (ak_httpc_header(&series->response, "x-amz-bucket-region").len && status == 400) {
        series->meaning.repair = S3_REPAIR_REGION;
    } else if (date_us >= 0 && off_us > SKEW_SEEN_US) {
        series->meaning.repair = S3_REPAIR_CLOCK;
    } else if (keys->expires_us != AK_S3_EXPIRES_NEVER) {
        series->meaning.repair = S3_REPAIR_CREDENTIALS;
    }
}

static enum ak_rc say(struct s3_store *store, struct s3_series *series, struct ak_err *err)
{
    struct ak_buf message;
    const struct ak_httpc_response *response = &series->response;
    ak_buf_init(&message, 4096);
    if (!ak_xml_find(ak_buf_str(&response->body), "Error/Message", &message)) {
        ak_buf_clear(&message);
    }
    struct ak_str text = ak_str_sub(ak_str_trim(ak_buf_str(&message)), 0, SHOWN_MESSAGE);
    while (ak_str_has_suffix(text, AK_STR("."))) { /* ours goes on after it */
        text.len--;
    }
    bool hides = series->meaning.rc == AK_FORBIDDEN && response->status / 100 == 4 &&
                 response->status != 403; /* some say 404 or 400 for it */
    const char *advice = series->meaning.advice;
    int date_off = 0;
    if (series->meaning.repair == S3_REPAIR_CLOCK) {
        int64_t date_us = ak_s3_http_date_us(ak_httpc_header(response, "date"));
        date_off = (int)((ak_now_us(store->clock) - date_us) / 1000000);
    }
    enum ak_rc rc =
        ak_fail(err, series->meaning.rc, "%s%d%s%s%s%.*s%s%s", hides ? "403, told as " : "",
                response->status, series->code[0] ? " " : "", series->code, text.len ? ": " : "",
                AK_STR_ARG(text), advice ? ": " : "", advice ? advice : "");
    if (date_off && err) {
        rc = ak_wrap(err, rc, "the clocks differ by %d s", date_off);
    }
    ak_buf_release(&message);
    return rc;
}

static void read_retry_after(struct s3_series *series)
{
    uint64_t seconds = 0;
    series->after_ms = 0;
    if (ak_str_u64(ak_httpc_header(&series->response, "retry-after"), UINT32_MAX, &seconds)) {
        uint64_t ms = seconds * 1000;
        series->after_ms = (uint32_t)(ms < RETRY_AFTER_MS_MAX ? ms : RETRY_AFTER_MS_MAX);
    }
}

static bool is_success(const struct s3_call *call, struct s3_series *series)
{
    int status = series->response.status;
    if (status < 200 || status >= 300) {
        return false;
    }
    if (!call->may_say_error) {
        return true;
    }
    read_code(series);
    return series->code[0] == 0;
}

static enum ak_rc understand(struct s3_store *store, const struct s3_call *call,
                             struct s3_series *series, const struct ak_s3_keys *keys,
                             int64_t time_us, bool is_tls, struct ak_err *err)
{
    series->code[0] = 0;
    if (is_success(call, series)) {
        return AK_OK;
    }
    read_code(series);
    read_retry_after(series);
    series->meaning = ak_s3_meaning(series->response.status, ak_str_of(series->code));
    guess_without_code(series, call, keys, time_us);
    series->may_have_happened |= series->response.status >= 500;
    enum ak_rc rc = say(store, series, err);
    if (series->meaning.repair != S3_REPAIR_NONE) {
        bool repaired = repair(store, series, keys, is_tls);
        series->meaning.kind = repaired ? AK_RETRY_AT_ONCE : series->meaning.kind;
    }
    return rc;
}

static enum ak_rc understand_failure(struct s3_series *series, enum ak_rc rc, struct ak_err *err)
{
    enum ak_httpc_failure failure = series->response.failure;
    series->code[0] = 0;
    series->after_ms = 0;
    series->meaning = ak_s3_meaning_of_failure(failure, rc);
    series->may_have_happened |= failure == AK_HTTPC_SEND || failure == AK_HTTPC_RECEIVE ||
                                 failure == AK_HTTPC_STALL || failure == AK_HTTPC_DEADLINE ||
                                 failure == AK_HTTPC_PROTOCOL;
    (void)err;
    return rc;
}

static enum ak_rc get_keys(struct s3_store *store, struct s3_series *series,
                           struct ak_s3_keys **keys, struct ak_err *err)
{
    enum ak_rc rc = ak_s3_creds_get(store->creds, keys, err);
    series->after_ms = 0;
    series->meaning = (struct s3_meaning){
        rc, rc == AK_UNAVAILABLE || rc == AK_TIMEOUT ? AK_RETRY_TRANSIENT : AK_RETRY_NO,
        S3_REPAIR_NONE, NULL};
    return rc;
}

enum ak_rc ak_s3_try(struct s3_store *store, const struct s3_call *call, struct s3_series *series,
                     struct ak_err *err)
{
    struct signed_request s;
    struct ak_s3_keys *keys = NULL;
    enum ak_rc rc = get_keys(store, series, &keys, err);
    if (rc != AK_OK) {
        return rc;
    }
    int64_t time_us =
        ak_now_us(store->clock) + atomic_load_explicit(&store->skew_us, memory_order_relaxed);
    signed_init(&s);
    rc = sign(store, call, series, keys, time_us, &s, err);
    if (rc != AK_OK) {
        series->meaning = (struct s3_meaning){rc, AK_RETRY_NO, S3_REPAIR_NONE, NULL};
        goto out;
    }
    bool is_tls = ak_str_has_prefix(ak_buf_str(&s.url), AK_STR("https://"));
    const struct ak_httpc_request request = {.method = call->method,
                                             .url = ak_buf_cstr(&s.url),
                                             .headers = s.headers,
                                             .header_count = s.header_count,
                                             .body = call->body,
                                             .read = call->read,
                                             .body_len = call->body_len,
                                             .on_head = call->on_head,
                                             .on_body = call->on_body,
                                             .ctx = call->ctx,
                                             .body_max = call->body_max,
                                             .connect_ms = store->connect_ms,
                                             .stall_ms =
                                                 call->stall_ms ? call->stall_ms : store->stall_ms,
                                             .deadline_ms = ak_retry_left_ms(&series->retry),
                                             .cancel = call->cancel,
                                             .stop = store->stop,
                                             .quiet_ms = store->trouble ? store->quiet_ms : 0,
                                             .on_quiet = store->trouble,
                                             .quiet_ctx = store->trouble_ctx,
                                             .hurry = store->trouble ? &store->is_away : NULL};
    rc = ak_httpc_do(store->client, &request, &series->response, err);
    ak_retry_extend(&series->retry,
                    ak_httpc_body_ns(series->response.sent + series->response.received));
    rc = rc == AK_OK ? understand(store, call, series, keys, time_us, is_tls, err)
                     : understand_failure(series, rc, err);
out:
    signed_release(&s);
    ak_s3_keys_unref(keys);
    return rc;
}

/* --- Again --- */

bool ak_s3_again(struct s3_store *store, const struct s3_call *call, struct s3_series *series,
                 struct ak_err *err)
{
    char text[96];
    bool is_failure =
        series->meaning.kind == AK_RETRY_TRANSIENT || series->meaning.kind == AK_RETRY_THROTTLED;
    if (is_failure && store->trouble) {
        store->trouble(store->trouble_ctx);
    }
    /* Relaxed: it orders nothing, and a try too many does no harm. */
    if (is_failure && atomic_load_explicit(&store->is_away, memory_order_relaxed)) {
        return false;
    }
    if (ak_retry_again(&series->retry, series->meaning.kind, series->after_ms)) {
        const struct ak_str label = ak_str_of(call->operation);
        ak_series_add(ak_metrics_series(store->metrics, AK_METRIC_RETRIES, &label, 1), 1);
        return true;
    }
    if (series->meaning.kind != AK_RETRY_NO && err) {
        struct ak_err cause = *err;
        (void)ak_fail(err, cause.rc, "%s (%s)", cause.text,
                      ak_retry_end_text(&series->retry, text));
    }
    return false;
}

/* A conditional write that was answered by "there is one": is that one ours, from a try whose
 * answer was lost? A conflict with another write that is under way is settled by looking again. */
static enum ak_rc settle(struct s3_store *store, const struct s3_call *call,
                         struct s3_series *series, enum ak_rc rc, struct ak_err *err)
{
    bool lost = series->response.status == 412;
    bool conflict =
        series->response.status == 409 && strcmp(series->code, "ConditionalRequestConflict") == 0;
    bool ours = false;
    struct ak_err why;
    /* Also when no try of ours broke: httpc sends again when a kept connection had closed. */
    if (series->response.failure != AK_HTTPC_NONE || (!lost && !conflict)) {
        return rc;
    }
    enum ak_rc looked = ak_s3_is_ours(store, call->key, call->write_id, &ours, &why);
    if (looked == AK_OK && ours) {
        return AK_OK;
    }
    if (looked == AK_OK || (looked == AK_NOT_FOUND && lost)) {
        return ak_fail(err, AK_EXISTS, "there is one already");
    }
    if (looked == AK_NOT_FOUND) { /* the other one did not come to be */
        series->meaning.kind = AK_RETRY_TRANSIENT;
        return rc;
    }
    return ak_fail(err, looked, "it is not known whether it was written: %s", why.text);
}

enum ak_rc ak_s3_do(struct s3_store *store, const struct s3_call *call, struct s3_series *series,
                    struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    ak_s3_series_start(store, series);
    if (call->stall_ms) { /* the server may think for so long, beside the deadline */
        ak_retry_extend(&series->retry, (int64_t)call->stall_ms * 1000000);
    }
    do {
        rc = ak_s3_try(store, call, series, err);
        if (rc != AK_OK && call->write_id) {
            rc = settle(store, call, series, rc, err);
        }
    } while (rc != AK_OK && ak_s3_again(store, call, series, err));
    if (rc == AK_OK) {
        ak_retry_succeeded(&series->retry);
    }
    return rc;
}

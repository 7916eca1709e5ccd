/* query_log_known.c — which shapes were met, and the file that says what their hashes mean.
 *
 * A table of hashes that requests read without a lock: a few places from hash % size on. It may
 * forget a shape (all places taken: the first one is overwritten), which then is written again;
 * readers of the file take the last line of a hash.
 */
#include "base/encode.h"
#include "base/json.h"
#include "perf/query_log_priv.h"
#include <string.h>

#define PROBES 8u
#define QUEUE_BYTES ((size_t)256 << 10) /* of shapes that wait to be written */
#define LINE_BYTES ((size_t)16 << 10)   /* of one shape; a larger filter is left out of it */
#define HASH_TEXT 16u

void ak_query_known_init(struct ak_query_known *known)
{
    for (size_t i = 0; i < AK_QUERY_KNOWN; i++) {
        atomic_init(&known->hashes[i], 0);
    }
    ak_mutex_init(&known->lock, AK_RANK_LEAF, "query shapes");
    ak_buf_init(&known->lines, QUEUE_BYTES);
    ak_buf_init(&known->spare, QUEUE_BYTES);
    known->file_bytes = 0;
    known->anew_day = INT32_MIN;
    atomic_init(&known->is_full, false);
}

void ak_query_known_release(struct ak_query_known *known)
{
    ak_buf_release(&known->lines);
    ak_buf_release(&known->spare);
    ak_mutex_release(&known->lock);
}

/* Relaxed throughout: a hash orders nothing else. */
static bool is_known(struct ak_query_known *known, uint64_t hash)
{
    for (uint64_t i = 0; i < PROBES; i++) {
        _Atomic uint64_t *place = &known->hashes[(hash + i) % AK_QUERY_KNOWN];
        if (atomic_load_explicit(place, memory_order_relaxed) == hash) {
            return true;
        }
    }
    return false;
}

static void remember(struct ak_query_known *known, uint64_t hash)
{
    for (uint64_t i = 0; i < PROBES; i++) {
        _Atomic uint64_t *place = &known->hashes[(hash + i) % AK_QUERY_KNOWN];
        uint64_t none = 0;
        if (atomic_compare_exchange_strong_explicit(place, &none, hash, memory_order_relaxed,
                                                    memory_order_relaxed) ||
            none == hash) {
            return;
        }
    }
    atomic_store_explicit(&known->hashes[hash % AK_QUERY_KNOWN], hash, memory_order_relaxed);
}

static void forget_all(struct ak_query_known *known)
{
    for (size_t i = 0; i < AK_QUERY_KNOWN; i++) {
        atomic_store_explicit(&known->hashes[i], 0, memory_order_relaxed);
    }
}

/* A line that does not fit is put without its filter. */
static void put_line(struct ak_buf *lines, const struct ak_query_shape *shape, uint64_t hash)
{
    size_t before = lines->len;
    ak_query_shape_put(shape, hash, lines);
    if (lines->failed || lines->len - before > LINE_BYTES) {
        struct ak_query_shape bare = *shape;
        bare.filter = NULL;
        lines->len = before;
        lines->failed = lines->no_memory = false;
        ak_query_shape_put(&bare, hash, lines);
    }
    if (lines->failed) { /* the queue is full: this one comes again */
        lines->len = before;
        lines->failed = lines->no_memory = false;
    }
}

void ak_query_known_note(struct ak_query_known *known, const struct ak_query_shape *shape,
                         uint64_t hash)
{
    if (atomic_load_explicit(&known->is_full, memory_order_relaxed) || is_known(known, hash) ||
        !ak_mutex_try_lock(&known->lock)) {
        return;
    }
    if (!is_known(known, hash) && known->lines.len + 2 * LINE_BYTES <= QUEUE_BYTES) {
        put_line(&known->lines, shape, hash);
        remember(known, hash);
    }
    ak_mutex_unlock(&known->lock);
}

/* --- The file --- */

static void load_line(struct ak_query_known *known, struct ak_str line)
{
    static const char begin[] = "{\"query_hash\":\"";
    uint8_t bytes[8];
    uint64_t hash = 0;
    size_t at = sizeof begin - 1;
    if (line.len < at + HASH_TEXT || memcmp(line.p, begin, at) != 0 ||
        !ak_unhex(ak_str_sub(line, at, HASH_TEXT), bytes, sizeof bytes)) {
        return;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        hash = hash << 8 | bytes[i];
    }
    remember(known, hash);
}

void ak_query_known_load(struct ak_query_known *known, struct ak_fs *fs, const char *path)
{
    struct ak_buf text;
    struct ak_str line;
    ak_buf_init(&text, (size_t)AK_QUERY_SHAPES_MAX + LINE_BYTES);
    enum ak_rc rc = ak_fs_read_all(fs, path, (size_t)AK_QUERY_SHAPES_MAX, &text, NULL);
    const char *end = rc == AK_OK && text.len ? memrchr(text.p, '\n', text.len) : NULL;
    if (end) { /* a line that a crash has cut is written over */
        struct ak_str rest = {text.p, (size_t)(end - text.p)};
        known->file_bytes = rest.len + 1;
        while (rest.len) {
            (void)ak_str_split(rest, '\n', &line, &rest);
            load_line(known, line);
        }
    }
    ak_buf_release(&text);
}

static enum ak_rc append(struct ak_query_known *known, struct ak_fs *fs, const char *path,
                         int32_t day, struct ak_err *err)
{
    struct ak_file *file = NULL;
    struct ak_str lines = ak_buf_str(&known->spare);
    bool overflows = known->file_bytes + lines.len > AK_QUERY_SHAPES_MAX;
    if (overflows && known->anew_day == day) {
        atomic_store_explicit(&known->is_full, true, memory_order_relaxed);
        return AK_OK;
    }
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE, &file, err);
    if (rc == AK_OK && overflows) { /* what is still in use is soon written again */
        known->file_bytes = 0;
        known->anew_day = day;
        forget_all(known);
    }
    rc = rc == AK_OK ? ak_file_truncate(file, known->file_bytes, err) : rc;
    rc = rc == AK_OK ? ak_file_write(file, known->file_bytes, lines.p, lines.len, err) : rc;
    if (rc == AK_OK) {
        known->file_bytes += lines.len;
    }
    ak_file_close(file);
    return rc;
}

enum ak_rc ak_query_known_write(struct ak_query_known *known, struct ak_fs *fs, const char *path,
                                int32_t day, struct ak_err *err)
{
    if (known->anew_day != day) {
        atomic_store_explicit(&known->is_full, false, memory_order_relaxed);
    }
    ak_mutex_lock(&known->lock);
    struct ak_buf queued = known->lines;
    known->lines = known->spare;
    known->spare = queued;
    ak_mutex_unlock(&known->lock);
    enum ak_rc rc = known->spare.len ? append(known, fs, path, day, err) : AK_OK;
    if (rc != AK_OK) {
        forget_all(known);
    }
    ak_buf_clear(&known->spare);
    return rc;
}

/* objstore.c — the checks that every store shares, then the store's own operation.
 *
 * A failure is wrapped here and only here: "<store>: <verb> '<key>': <what the operation said>".
 * A message about an argument has no such prefix: the store has not been asked.
 */
#include "base/mem.h"
#include "objstore/objstore_priv.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 160 /* bytes of a key in a message: ids and their folders fit */
#define CONTENT_TYPE_MAX 127
#define NAME_MAX_BYTES 4200 /* a path and its quotes, or an endpoint and a bucket */

static const struct ak_objstore_put_options default_options = {0};

void ak_objstore_init(struct ak_objstore *store, const struct ak_objstore_ops *ops, const char *fmt,
                      ...)
{
    char text[NAME_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap); /* cut when longer: it is for messages only */
    va_end(ap);
    store->ops = ops;
    store->name = ak_strdup_n(text, strlen(text));
}

void ak_objstore_close(struct ak_objstore *store)
{
    if (store) {
        char *name = store->name;
        store->ops->close(store);
        ak_free(name);
    }
}

const char *ak_objstore_name(const struct ak_objstore *store)
{
    return store->name;
}

uint32_t ak_objstore_away_ms(struct ak_objstore *store)
{
    return store->ops->away_ms ? store->ops->away_ms(store) : 0;
}

/* --- Checks --- */

struct ak_str ak_objstore_shown(struct ak_str key)
{
    if (key.len <= SHOWN_MAX) {
        return key;
    }
    size_t len = SHOWN_MAX;
    while (len > 0 && ((unsigned char)key.p[len] & 0xc0) == 0x80) {
        len--;
    }
    return ak_str_sub(key, 0, len);
}

/* C0, DEL and C1, of which UTF-8 writes the last as c2 80 .. c2 9f: XML cannot carry the first and
 * terminals obey all of them. */
static bool has_control_character(struct ak_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.p[i + 1] < 0xa0;
        if (c < 0x20 || c == 0x7f || is_c1) {
            return true;
        }
    }
    return false;
}

/* What a key and the beginning of one have in common. */
static enum ak_rc check_text(struct ak_str s, const char *what, struct ak_err *err)
{
    if (s.len > AK_OBJSTORE_KEY_MAX) {
        return ak_fail(err, AK_INVALID, "%s has %zu bytes, at most %d are allowed", what, s.len,
                       AK_OBJSTORE_KEY_MAX);
    }
    if (!ak_utf8_is_valid(s)) {
        return ak_fail(err, AK_INVALID, "%s is not UTF-8", what);
    }
    if (has_control_character(s)) {
        return ak_fail(err, AK_INVALID, "%s has a control character", what);
    }
    return AK_OK;
}

static bool is_part(struct ak_str part)
{
    return part.len > 0 && !ak_str_eq(part, AK_STR(".")) && !ak_str_eq(part, AK_STR(".."));
}

enum ak_rc ak_objstore_check_key(struct ak_str key, struct ak_err *err)
{
    if (key.len == 0) {
        return ak_fail(err, AK_INVALID, "the object key is empty");
    }
    enum ak_rc rc = check_text(key, "the object key", err);
    for (struct ak_str rest = key, part; rc == AK_OK; key = rest) {
        bool more = ak_str_split(key, '/', &part, &rest);
        if (!is_part(part)) {
            return ak_fail(err, AK_INVALID,
                           "the object key has the part '%.*s': parts between '/' are neither "
                           "empty nor '.' nor '..'",
                           AK_STR_ARG(part));
        }
        if (!more) {
            break;
        }
    }
    return rc;
}

static enum ak_rc check_put(struct ak_str key, const struct ak_objstore_put_options *options,
                            struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK || !options->content_type) {
        return rc;
    }
    size_t len = strnlen(options->content_type, CONTENT_TYPE_MAX + 1);
    if (len == 0 || len > CONTENT_TYPE_MAX) {
        return ak_fail(err, AK_INVALID, "the content type must have 1 to %d bytes",
                       CONTENT_TYPE_MAX);
    }
    for (size_t i = 0; i < len; i++) {
        if (options->content_type[i] < 0x20 || options->content_type[i] > 0x7e) {
            return ak_fail(err, AK_INVALID, "the content type must be printable ASCII");
        }
    }
    return AK_OK;
}

enum ak_rc ak_objstore_tell(ak_objstore_progress progress, void *ctx, uint64_t done, uint64_t total,
                            struct ak_err *err)
{
    if (progress && !progress(ctx, done, total)) {
        return ak_fail(err, AK_CONFLICT, "cancelled after %llu of %llu bytes",
                       (unsigned long long)done, (unsigned long long)total);
    }
    return AK_OK;
}

static enum ak_rc wrap(struct ak_objstore *store, enum ak_rc rc, const char *verb,
                       struct ak_str key, struct ak_err *err)
{
    if (rc == AK_OK) {
        return rc;
    }
    struct ak_str name = ak_objstore_shown(ak_str_of(store->name));
    return ak_wrap(err, rc, "%.*s: %s '%.*s'", AK_STR_ARG(name), verb,
                   AK_STR_ARG(ak_objstore_shown(key)));
}

/* --- Whole objects --- */

enum ak_rc ak_objstore_get(struct ak_objstore *store, struct ak_str key, struct ak_buf *out,
                           struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc == AK_OK) {
        rc = ak_buf_check(out, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    size_t before = out->len;
    rc = store->ops->get(store, key, out, err);
    if (rc != AK_OK) {
        out->len = before;
        out->failed = false;
        out->no_memory = false;
    }
    return wrap(store, rc, "get", key, err);
}

enum ak_rc ak_objstore_put(struct ak_objstore *store, struct ak_str key, struct ak_str bytes,
                           const struct ak_objstore_put_options *options, struct ak_err *err)
{
    options = options ? options : &default_options;
    enum ak_rc rc = check_put(key, options, err);
    if (rc != AK_OK) {
        return rc;
    }
    return wrap(store, store->ops->put(store, key, bytes, options, err), "put", key, err);
}

enum ak_rc ak_objstore_head(struct ak_objstore *store, struct ak_str key, struct ak_arena *arena,
                            struct ak_object *object, struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_object found = {0};
    rc = store->ops->head(store, key, arena, &found, err);
    if (rc == AK_OK) {
        *object = found;
    }
    return wrap(store, rc, "head", key, err);
}

enum ak_rc ak_objstore_remove(struct ak_objstore *store, struct ak_str key, struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK) {
        return rc;
    }
    return wrap(store, store->ops->remove(store, key, err), "remove", key, err);
}

enum ak_rc ak_objstore_remove_parts(struct ak_objstore *store, struct ak_str key,
                                    struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK || !store->ops->remove_parts) {
        return rc;
    }
    return wrap(store, store->ops->remove_parts(store, key, err), "remove the parts of", key, err);
}

/* --- Parts and files --- */

/* No bytes are wanted: the object must be there and reach as far all the same. */
static enum ak_rc check_reach(struct ak_objstore *store, struct ak_str key, uint64_t from,
                              struct ak_err *err)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    struct ak_object object = {0};
    enum ak_rc rc = store->ops->head(store, key, &arena, &object, err);
    if (rc == AK_OK && from > object.size) {
        rc = ak_fail(err, AK_CORRUPT, "the object ends at byte %llu, byte %llu is wanted",
                     (unsigned long long)object.size, (unsigned long long)from);
    }
    ak_arena_release(&arena);
    return rc;
}

enum ak_rc ak_objstore_get_range(struct ak_objstore *store, struct ak_str key, uint64_t from,
                                 void *p, size_t len, struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (from > INT64_MAX || len > INT64_MAX - from) {
        rc = ak_fail(err, AK_CORRUPT, "%zu bytes at %llu are past the end of any object", len,
                     (unsigned long long)from);
    } else if (len == 0) {
        rc = check_reach(store, key, from, err);
    } else {
        rc = store->ops->get_range(store, key, from, p, len, err);
    }
    return wrap(store, rc, "read", key, err);
}

enum ak_rc ak_objstore_get_file(struct ak_objstore *store, struct ak_str key, struct ak_fs *fs,
                                const char *path, ak_objstore_progress progress, void *ctx,
                                struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = store->ops->get_file(store, key, fs, path, progress, ctx, err);
    return wrap(store, rc, "download", key, err);
}

enum ak_rc ak_objstore_link_file(struct ak_objstore *store, struct ak_str key, struct ak_fs *fs,
                                 const char *path, ak_objstore_progress progress, void *ctx,
                                 struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = store->ops->link_file ? store->ops->link_file(store, key, fs, path, err) : AK_UNSUPPORTED;
    if (rc == AK_UNSUPPORTED) {
        rc = store->ops->get_file(store, key, fs, path, progress, ctx, err);
    }
    return wrap(store, rc, "download", key, err);
}

enum ak_rc ak_objstore_open_file(struct ak_objstore *store, struct ak_str key,
                                 struct ak_file **file, struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc == AK_OK && !store->ops->open_file) {
        rc = ak_fail(err, AK_UNSUPPORTED, "its objects are no files");
    }
    rc = rc == AK_OK ? store->ops->open_file(store, key, file, err) : rc;
    return wrap(store, rc, "open", key, err);
}

enum ak_rc ak_objstore_put_file(struct ak_objstore *store, struct ak_str key, struct ak_fs *fs,
                                const char *path, ak_objstore_progress progress, void *ctx,
                                struct ak_err *err)
{
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = store->ops->put_file(store, key, fs, path, progress, ctx, err);
    if (rc == AK_NOT_FOUND) { /* the file: of objects it would say something else */
        rc = AK_INVALID;
    }
    return wrap(store, rc, "upload", key, err);
}

enum ak_rc ak_objstore_locate(struct ak_objstore *store, struct ak_str key, struct ak_buf *out,
                              bool *is_file, struct ak_err *err)
{
    bool file = false;
    enum ak_rc rc = ak_objstore_check_key(key, err);
    if (rc == AK_OK) {
        rc = store->ops->locate
                 ? store->ops->locate(store, key, out, &file, err)
                 : ak_fail(err, AK_UNSUPPORTED, "%s: no other program can reach its objects",
                           store->name);
    }
    if (rc == AK_OK) {
        rc = ak_buf_check(out, err);
    }
    if (rc == AK_OK) {
        *is_file = file;
    }
    return rc;
}

/* --- Writers --- */

void ak_objstore_writer_init(struct ak_objstore_writer *writer,
                             const struct ak_objstore_writer_ops *ops, struct ak_objstore *store,
                             struct ak_str key)
{
    *writer = (struct ak_objstore_writer){.ops = ops, .store = store};
    writer->key_copy = ak_strdup_n(key.p, key.len);
    writer->key = (struct ak_str){writer->key_copy, key.len};
}

enum ak_rc ak_objstore_create(struct ak_objstore *store, struct ak_str key,
                              const struct ak_objstore_put_options *options,
                              struct ak_objstore_writer **writer, struct ak_err *err)
{
    options = options ? options : &default_options;
    enum ak_rc rc = check_put(key, options, err);
    if (rc != AK_OK) {
        return rc;
    }
    return wrap(store, store->ops->create(store, key, options, writer, err), "create", key, err);
}

enum ak_rc ak_objstore_write(struct ak_objstore_writer *writer, const void *p, size_t len,
                             struct ak_err *err)
{
    if (writer->failed != AK_OK) {
        return ak_fail(err, writer->failed, "%s: write '%.*s': an earlier write failed",
                       writer->store->name, AK_STR_ARG(ak_objstore_shown(writer->key)));
    }
    if (len == 0) {
        return AK_OK;
    }
    enum ak_rc rc = writer->ops->write(writer, p, len, err);
    if (rc == AK_OK) {
        writer->bytes += len;
    } else {
        writer->failed = rc;
    }
    return wrap(writer->store, rc, "write", writer->key, err);
}

enum ak_rc ak_objstore_commit(struct ak_objstore_writer *writer, uint64_t *bytes,
                              struct ak_err *err)
{
    struct ak_objstore *store = writer->store;
    struct ak_str key = writer->key; /* outlives the writer, for the message */
    char *key_copy = writer->key_copy;
    uint64_t written = writer->bytes;
    enum ak_rc rc = writer->failed;
    if (rc == AK_OK) {
        rc = writer->ops->commit(writer, err);
    } else {
        writer->ops->abort(writer);
        rc = ak_fail(err, rc, "an earlier write failed");
    }
    if (rc == AK_OK && bytes) {
        *bytes = written;
    }
    rc = wrap(store, rc, "commit", key, err);
    ak_free(key_copy);
    return rc;
}

void ak_objstore_abort(struct ak_objstore_writer *writer)
{
    if (writer) {
        ak_objstore_writer_abort(writer);
    }
}

enum ak_rc ak_objstore_writer_commit(struct ak_objstore_writer *writer, struct ak_err *err)
{
    char *key_copy = writer->key_copy;
    enum ak_rc rc = writer->ops->commit(writer, err);
    ak_free(key_copy);
    return rc;
}

void ak_objstore_writer_abort(struct ak_objstore_writer *writer)
{
    char *key_copy = writer->key_copy;
    writer->ops->abort(writer);
    ak_free(key_copy);
}

/* --- Listing --- */

/* The parts of a prefix up to its last '/' must be those of keys, for there to be any. Stores need
 * not see others: to some servers they are errors, to a folder they are ways out of it. */
static bool can_have_keys(struct ak_str prefix)
{
    for (struct ak_str part; ak_str_split(prefix, '/', &part, &prefix);) {
        if (!is_part(part)) {
            return false;
        }
    }
    return true;
}

enum ak_rc ak_objstore_list(struct ak_objstore *store, struct ak_str prefix, struct ak_str after,
                            size_t limit, struct ak_arena *arena, struct ak_object **objects,
                            size_t *count, struct ak_err *err)
{
    enum ak_rc rc = check_text(prefix, "the prefix", err);
    if (rc == AK_OK) {
        rc = check_text(after, "the key to list after", err);
    }
    if (rc == AK_OK && (limit < 1 || limit > 1000)) {
        rc =
            ak_fail(err, AK_INVALID, "%zu objects are asked for: a listing gives 1 to 1000", limit);
    }
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_object *found = NULL;
    size_t n = 0;
    /* Where to begin is, for some servers, within the prefix or an error. */
    bool is_past = ak_str_cmp(after, prefix) > 0 && !ak_str_has_prefix(after, prefix);
    bool is_before = ak_str_cmp(after, prefix) < 0;
    if (can_have_keys(prefix) && !is_past) {
        rc = store->ops->list(store, prefix, is_before ? AK_STR_NONE : after, limit, arena, &found,
                              &n, err);
    }
    if (rc == AK_OK) {
        *objects = found;
        *count = n;
    }
    return wrap(store, rc, "list", prefix, err);
}

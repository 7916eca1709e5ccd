/* copy.c — snapshots from one store to another, a group of them at a time.
 *
 *   list ──▶ group ──▶ data and images: held against `to`, read, checked, given to the uploader
 *              ▲                                          │ flush
 *              └──────────── metadata of those that are whole there ◀──┘
 *
 * C1 The metadata object is given to the uploader after the flush that ended its parts, and only
 *    when none of them failed.
 * C2 `open_bytes` of a group are at most GROUP_BYTES, or one snapshot's: so much passes through the
 *    stage at a time.
 */
#include "archive/copy.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/sync.h"
#include "snapshot/snapshot.h"
#include "upload/upload.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "snapshots/"
#define META ".metadata.json"
#define PAGE 1000
#define GROUP_MAX 16
#define GROUP_BYTES ((uint64_t)256 << 20)
#define PATH_BYTES 4200
#define META_BYTES_MAX ((size_t)64 << 10)

struct found { /* a snapshot, by its metadata object */
    struct ak_uuid collection, id;
};

struct part {
    struct copying *of;
    struct ak_str key; /* in the group's arena */
    uint64_t bytes;
    bool is_staged;
    char path[PATH_BYTES];
};

struct copying { /* one of a group */
    struct ak_snapshot_meta meta;
    struct part data, image, metadata;
    bool has_failed; /* under the lock */
};

struct copier {
    const struct ak_copy_options *options;
    struct ak_uploader *uploader;
    struct found *found;
    size_t count, cap;
    uint64_t total;       /* bytes of all that the layout names */
    uint64_t number;      /* of staged files */
    struct ak_mutex lock; /* over what follows */
    uint64_t done;
    struct ak_copy_report report;
    struct ak_err first; /* failure; rc AK_OK: none */
};

const char *ak_copy_result_name(enum ak_copy_result result)
{
    static const char *const names[] = {"copied", "there", "failed"};
    return (unsigned)result < sizeof names / sizeof names[0] ? names[result] : "unknown";
}

/* --- What became of an object --- */

static void tell(struct copier *c, struct part *part, enum ak_copy_result result,
                 const struct ak_err *why)
{
    const struct ak_copy_object object = {.key = part->key,
                                          .bytes = part->bytes,
                                          .result = result,
                                          .rc = why ? why->rc : AK_OK,
                                          .message = why ? why->text : ""};
    ak_mutex_lock(&c->lock);
    c->done += part->bytes;
    c->report.copied += result == AK_COPY_COPIED;
    c->report.there += result == AK_COPY_THERE;
    c->report.failed += result == AK_COPY_FAILED;
    c->report.bytes_copied += result == AK_COPY_COPIED ? part->bytes : 0;
    if (result == AK_COPY_FAILED) {
        c->report.snapshots_failed += !part->of->has_failed;
        part->of->has_failed = true;
        if (c->first.rc == AK_OK) {
            c->first = *why;
        }
    }
    if (c->options->on_object) {
        c->options->on_object(c->options->ctx, &object, c->done, c->total);
    }
    ak_mutex_unlock(&c->lock);
}

static void fail(struct copier *c, struct part *part, const struct ak_err *why)
{
    tell(c, part, AK_COPY_FAILED, why);
}

static void unstage(struct part *part)
{
    if (part->is_staged) {
        (void)!ak_fs_remove(ak_fs_posix(), part->path, NULL); /* it may not have come to be */
        part->is_staged = false;
    }
}

static void on_upload(void *ctx, const struct ak_upload_result *result)
{
    struct part *part = result->tag;
    struct ak_err why;
    unstage(part);
    if (result->rc == AK_OK) {
        tell(ctx, part, AK_COPY_COPIED, NULL);
    } else {
        (void)ak_fail(&why, result->rc, "%s", result->message);
        fail(ctx, part, &why);
    }
}

/* --- Is it there already? --- */

struct source {
    struct ak_objstore *store; /* or */
    struct ak_file *file;
    struct ak_str key;
};

static enum ak_rc read_source(void *ctx, uint64_t at, void *p, size_t len, struct ak_err *err)
{
    struct source *source = ctx;
    return source->store ? ak_objstore_get_range(source->store, source->key, at, p, len, err)
                         : ak_file_read_exact(source->file, at, p, len, err);
}

static enum ak_rc hash_file(const char *path, uint64_t *size, uint8_t digest[32],
                            struct ak_err *err)
{
    struct source source = {.store = NULL};
    enum ak_rc rc = ak_fs_open(ak_fs_posix(), path, AK_OPEN_READ, &source.file, err);
    if (rc == AK_OK) {
        rc = ak_file_size(source.file, size, err);
    }
    if (rc == AK_OK) {
        rc = ak_sha256_read(read_source, &source, *size, digest, err);
    }
    ak_file_close(source.file);
    return rc;
}

static bool has_digest(const struct ak_snapshot_object *object)
{
    static const uint8_t none[32];
    return memcmp(object->sha256, none, sizeof none) != 0;
}

/* *size of the object in the other store; UINT64_MAX: there is none. */
static enum ak_rc size_there(struct copier *c, struct ak_str key, uint64_t *size,
                             struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object object = {.size = 0};
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_objstore_head(c->options->to, key, &arena, &object, err);
    ak_arena_release(&arena);
    *size = rc == AK_OK ? object.size : UINT64_MAX;
    return rc == AK_NOT_FOUND ? AK_OK : rc;
}

/* Are its bytes in the other store these? The size is the same. */
static enum ak_rc is_same_there(struct copier *c, struct ak_str key, uint64_t size,
                                const uint8_t digest[32], bool *same, struct ak_err *err)
{
    struct source source = {.store = c->options->to, .key = key};
    uint8_t got[32];
    *same = c->options->by_size;
    if (*same) {
        return AK_OK;
    }
    enum ak_rc rc = ak_sha256_read(read_source, &source, size, got, err);
    *same = rc == AK_OK && memcmp(got, digest, sizeof got) == 0;
    return rc;
}

/* --- Data and image --- */

/* The object as a file: where it lies, or a copy on the stage. */
static enum ak_rc find_file(struct copier *c, struct part *part, struct ak_err *err)
{
    struct ak_buf where;
    struct ak_err none;
    bool is_file = false;
    ak_buf_init(&where, sizeof part->path - 1);
    enum ak_rc rc = ak_objstore_locate(c->options->from, part->key, &where, &is_file, &none);
    if (rc == AK_OK && is_file) {
        (void)snprintf(part->path, sizeof part->path, "%s", ak_buf_cstr(&where));
        ak_buf_release(&where);
        return AK_OK;
    }
    ak_buf_release(&where);
    int len = snprintf(part->path, sizeof part->path, "%s/akidb-copy-%ld-%llu", c->options->stage,
                       (long)getpid(), (unsigned long long)c->number++);
    if (len >= (int)sizeof part->path) {
        return ak_fail(err, AK_INVALID, "the path of the folder for copies is too long");
    }
    part->is_staged = true;
    return ak_objstore_get_file(c->options->from, part->key, ak_fs_posix(), part->path, NULL, NULL,
                                err);
}

/* *digest of the file, which must be what the metadata says. */
static enum ak_rc check_file(struct part *part, const struct ak_snapshot_object *object,
                             uint8_t digest[32], struct ak_err *err)
{
    uint64_t size = 0;
    enum ak_rc rc = hash_file(part->path, &size, digest, err);
    if (rc == AK_NOT_FOUND) {
        return ak_fail(err, AK_CORRUPT, "it is missing: the metadata names it");
    }
    if (rc == AK_OK && has_digest(object) &&
        (size != object->bytes || memcmp(digest, object->sha256, 32) != 0)) {
        rc = ak_fail(err, AK_CORRUPT,
                     "it is damaged: size or SHA-256 are not those of the metadata");
    }
    part->bytes = rc == AK_OK ? size : part->bytes;
    return rc;
}

/* AK_OK with *is_there: nothing is to be done. */
static enum ak_rc prepare(struct copier *c, struct part *part,
                          const struct ak_snapshot_object *object, bool *is_there,
                          struct ak_err *err)
{
    uint8_t digest[32];
    uint64_t size = 0;
    enum ak_rc rc = size_there(c, part->key, &size, err);
    if (rc == AK_OK && has_digest(object) && size == object->bytes) {
        rc = is_same_there(c, part->key, size, object->sha256, is_there, err);
    }
    if (rc != AK_OK || *is_there) {
        return rc;
    }
    rc = find_file(c, part, err);
    if (rc == AK_OK) {
        rc = check_file(part, object, digest, err);
    } else if (rc == AK_NOT_FOUND) {
        rc = ak_wrap(err, AK_CORRUPT, "the metadata names it");
    }
    if (rc == AK_OK && !has_digest(object) && size == part->bytes) { /* of an older version */
        rc = is_same_there(c, part->key, size, digest, is_there, err);
    }
    return rc;
}

static void copy_part(struct copier *c, struct part *part, const struct ak_snapshot_object *object)
{
    struct ak_err why = {.rc = AK_OK};
    bool is_there = false;
    part->key = object->key;
    part->bytes = object->bytes;
    enum ak_rc rc = prepare(c, part, object, &is_there, &why);
    if (rc == AK_OK && !is_there) {
        rc = ak_upload_put_file(c->uploader, part->key, ak_fs_posix(), part->path, part, &why);
        if (rc == AK_OK) {
            return; /* on_upload tells */
        }
    }
    unstage(part);
    if (rc == AK_OK) {
        tell(c, part, AK_COPY_THERE, NULL);
    } else {
        fail(c, part, &why);
    }
}

/* --- Metadata --- */

static enum ak_rc get_metadata(struct copier *c, struct ak_objstore *store, struct ak_str key,
                               struct ak_buf *out, struct ak_err *err)
{
    (void)c;
    ak_buf_init(out, META_BYTES_MAX);
    return ak_objstore_get(store, key, out, err);
}

static void copy_metadata(struct copier *c, struct copying *one)
{
    struct ak_err why = {.rc = AK_OK};
    struct ak_err none;
    struct ak_buf bytes;
    struct ak_buf there = {0};
    enum ak_rc rc = get_metadata(c, c->options->from, one->metadata.key, &bytes, &why);
    bool is_there = rc == AK_OK &&
                    get_metadata(c, c->options->to, one->metadata.key, &there, &none) == AK_OK &&
                    ak_str_eq(ak_buf_str(&bytes), ak_buf_str(&there));
    one->metadata.bytes = bytes.len;
    if (rc == AK_OK && !is_there) {
        rc =
            ak_upload_put(c->uploader, one->metadata.key, ak_buf_str(&bytes), &one->metadata, &why);
    }
    if (rc != AK_OK) {
        fail(c, &one->metadata, &why);
    } else if (is_there) {
        tell(c, &one->metadata, AK_COPY_THERE, NULL);
    }
    ak_buf_release(&bytes);
    ak_buf_release(&there);
}

/* --- A group --- */

/* false: it cannot be read, and has failed. */
static bool open_one(struct copier *c, const struct found *found, struct copying *one,
                     struct ak_arena *arena)
{
    char key[128];
    char texts[2][AK_UUID_TEXT_LEN];
    struct ak_err why = {.rc = AK_OK};
    memset(one, 0, sizeof *one);
    one->data.of = one->image.of = one->metadata.of = one;
    ak_uuid_format(&found->collection, texts[0]);
    ak_uuid_format(&found->id, texts[1]);
    int len = snprintf(key, sizeof key, FOLDER "%.36s/%.36s" META, texts[0], texts[1]);
    one->metadata.key = ak_arena_str(arena, (struct ak_str){key, (size_t)len});
    enum ak_rc rc = one->metadata.key.p
                        ? ak_snapshot_get(c->options->from, &found->collection, &found->id, arena,
                                          &one->meta, &why)
                        : ak_fail(&why, AK_NOMEM, "no memory for a snapshot's metadata");
    if (rc == AK_NOT_FOUND) { /* removed since */
        ak_mutex_lock(&c->lock);
        c->report.snapshots--;
        ak_mutex_unlock(&c->lock);
    } else if (rc != AK_OK) {
        fail(c, &one->metadata, &why);
    }
    return rc == AK_OK;
}

static bool is_whole(struct copier *c, const struct copying *one)
{
    ak_mutex_lock(&c->lock);
    bool whole = !one->has_failed;
    ak_mutex_unlock(&c->lock);
    return whole;
}

/* From the `from`-th on; gives how many were dealt with. */
static size_t copy_group(struct copier *c, size_t from, struct copying *group)
{
    struct ak_arena arena;
    uint64_t open_bytes = 0; /* C2 */
    size_t n = 0;
    size_t seen = 0;
    ak_arena_init(&arena, 0);
    while (from + seen < c->count && n < GROUP_MAX && open_bytes < GROUP_BYTES) {
        struct copying *one = &group[n];
        if (open_one(c, &c->found[from + seen++], one, &arena)) {
            open_bytes += one->meta.size_bytes;
            n++;
            copy_part(c, &one->data, &one->meta.data);
            if (one->meta.has_image) {
                copy_part(c, &one->image, &one->meta.image);
            }
        }
    }
    ak_upload_flush(c->uploader);
    for (size_t i = 0; i < n; i++) {
        if (is_whole(c, &group[i])) {
            copy_metadata(c, &group[i]);
        }
    }
    ak_upload_flush(c->uploader);
    ak_arena_release(&arena);
    return seen;
}

/* --- What there is --- */

/* "snapshots/<uuid>/<uuid><suffix>", as the layout writes it. */
static bool parse_key(struct ak_str key, struct found *found, struct ak_str *suffix)
{
    char texts[2][AK_UUID_TEXT_LEN];
    struct ak_str collection = ak_str_sub(key, sizeof FOLDER - 1, AK_UUID_TEXT_LEN);
    struct ak_str id = ak_str_sub(key, sizeof FOLDER + AK_UUID_TEXT_LEN, AK_UUID_TEXT_LEN);
    if (!ak_uuid_parse(collection, &found->collection) || !ak_uuid_parse(id, &found->id)) {
        return false;
    }
    ak_uuid_format(&found->collection, texts[0]);
    ak_uuid_format(&found->id, texts[1]);
    *suffix = ak_str_sub(key, sizeof FOLDER + (size_t)2 * AK_UUID_TEXT_LEN, SIZE_MAX);
    return memcmp(texts[0], collection.p, AK_UUID_TEXT_LEN) == 0 &&
           memcmp(texts[1], id.p, AK_UUID_TEXT_LEN) == 0;
}

static enum ak_rc add(struct copier *c, const struct ak_object *object, struct ak_err *err)
{
    struct found found;
    struct ak_str suffix;
    if (!parse_key(object->key, &found, &suffix)) {
        return AK_OK;
    }
    c->total += object->size;
    if (!ak_str_eq(suffix, AK_STR(META))) {
        return AK_OK;
    }
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 256;
        struct found *more = ak_try_realloc(c->found, cap * sizeof *more);
        if (!more) {
            return ak_fail(err, AK_NOMEM, "no memory for a list of %zu snapshots", cap);
        }
        c->found = more;
        c->cap = cap;
    }
    c->found[c->count++] = found;
    return AK_OK;
}

static enum ak_rc list_all(struct copier *c, struct ak_err *err)
{
    struct ak_arena arena;
    char after[AK_OBJSTORE_KEY_MAX];
    size_t after_len = 0;
    size_t count = PAGE;
    enum ak_rc rc = AK_OK;
    ak_arena_init(&arena, 0);
    while (rc == AK_OK && count == PAGE) {
        struct ak_object *objects = NULL;
        ak_arena_reset(&arena);
        rc = ak_objstore_list(c->options->from, AK_STR(FOLDER), (struct ak_str){after, after_len},
                              PAGE, &arena, &objects, &count, err);
        for (size_t i = 0; rc == AK_OK && i < count; i++) {
            rc = add(c, &objects[i], err);
        }
        if (rc == AK_OK && count) {
            after_len = objects[count - 1].key.len; /* stores keep AK_OBJSTORE_KEY_MAX */
            memcpy(after, objects[count - 1].key.p, after_len);
        }
    }
    ak_arena_release(&arena);
    return rc;
}

static enum ak_rc copy_all(struct copier *c, struct ak_err *err)
{
    const struct ak_upload_options options = {.concurrency = c->options->concurrency,
                                              .delay_ms = c->options->delay_ms,
                                              .clock = c->options->clock,
                                              .metrics = c->options->metrics,
                                              .on_result = on_upload,
                                              .ctx = c};
    struct ak_err none;
    struct copying *group = ak_alloc(GROUP_MAX * sizeof *group);
    enum ak_rc rc = list_all(c, err);
    if (rc == AK_OK) {
        rc = ak_upload_open(c->options->to, &options, &c->uploader, err);
    }
    if (rc == AK_OK) {
        c->report.snapshots = c->count;
        for (size_t at = 0; at < c->count;) {
            at += copy_group(c, at, group);
        }
        (void)!ak_upload_close(c->uploader, &none); /* every failure was told by itself */
    }
    ak_free(group);
    return rc;
}

enum ak_rc ak_archive_copy(const struct ak_copy_options *options, struct ak_copy_report *report,
                           struct ak_err *err)
{
    struct copier c = {.options = options};
    ak_mutex_init(&c.lock, AK_RANK_POOL, "copy");
    enum ak_rc rc = copy_all(&c, err);
    if (rc == AK_OK && c.first.rc != AK_OK) {
        rc = ak_fail(err, c.first.rc,
                     "%llu of %llu snapshots were not copied; the first failure: %s",
                     (unsigned long long)c.report.snapshots_failed,
                     (unsigned long long)c.report.snapshots, c.first.text);
    }
    *report = c.report;
    ak_mutex_release(&c.lock);
    ak_free(c.found);
    return rc;
}

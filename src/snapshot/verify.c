/* verify.c — is a snapshot whole? Every byte of its objects, every page, every row, and the rows of
 * the table against those of the image.
 *
 * Table and image hold the same documents in the same order (slots ascending), so they are read
 * side by side. Each object leaves the store once, hashed on the way: where objects are no files it
 * comes to a temporary file without a name, from which it is then mapped or read, never held in
 * memory. (JSON is read front to back and needs none.)
 */
#include "base/mem.h"
#include "index/image.h"
#include "snapshot/snapshot_priv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LET_GO_BYTES ((uint64_t)2 << 20) /* of vectors, at once */

struct beside { /* the image beside the table */
    struct ak_image *image;
    struct ak_image_section ids, vectors, deleted;
    bool has_deleted;
    uint64_t slots, slot; /* the next to look at */
    uint32_t dimension;
    bool lossless;
    uint64_t let_go; /* slots whose pages were given back */
    struct ak_str key;
    uint64_t held;
};

struct verification {
    struct ak_objstore *store;
    const struct ak_snapshot_meta *meta;
    struct ak_snapshot_report *report;
    struct ak_snapshot_ticker ticker;
    struct beside *beside;
    uint64_t done; /* bytes of the objects before the one that is hashed now */
    uint64_t rows; /* seen */
    uint64_t now;  /* bytes of the object that is hashed now */
};

/* --- Progress: hashing the objects is one half, reading the rows the other --- */

static double fraction_of(const struct verification *v, double object)
{
    double bytes = (double)v->meta->size_bytes + 1;
    double rows = (double)v->meta->vector_count + 1;
    return 0.5 * ((double)v->done + object * (double)v->now) / bytes + 0.5 * (double)v->rows / rows;
}

static bool tell_bytes(void *ctx, double fraction)
{
    struct verification *v = ctx;
    return ak_snapshot_tick(&v->ticker, fraction_of(v, fraction), NULL) == AK_OK;
}

/* --- The image --- */

static enum ak_rc open_unnamed(struct ak_file **file, struct ak_err *err)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/akidb-verify-XXXXXX",
                   folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0) {
        return ak_fail_errno(err, errno, "make a temporary file '%s' (TMPDIR)", path);
    }
    enum ak_rc rc = ak_fs_open(ak_fs_posix(), path, AK_OPEN_WRITE, file, err);
    (void)unlink(path);
    (void)close(fd);
    return rc;
}

static enum ak_rc need_sections(struct beside *beside, struct ak_err *err)
{
    struct ak_image *image = beside->image;
    if (!ak_image_find(image, AK_IMAGE_VECTORS, &beside->vectors)) {
        return ak_fail(err, AK_CORRUPT, "the image holds no vectors");
    }
    uint64_t slots = beside->vectors.rows;
    uint64_t stride = ((uint64_t)beside->dimension * sizeof(float) + 63) / 64 * 64;
    enum ak_rc rc = ak_image_need(image, AK_IMAGE_VECTORS, stride, slots, &beside->vectors, err);
    if (rc == AK_OK) {
        rc = ak_image_need(image, AK_IMAGE_DOC_IDS, sizeof(struct ak_uuid), slots, &beside->ids,
                           err);
    }
    beside->has_deleted = ak_image_find(image, AK_IMAGE_DELETED, &beside->deleted);
    if (rc == AK_OK && beside->has_deleted) {
        rc = ak_image_need(image, AK_IMAGE_DELETED, sizeof(uint64_t), (slots + 63) / 64,
                           &beside->deleted, err);
    }
    beside->slots = slots;
    return rc;
}

/* The object's bytes as a file, through SHA-256: the store's own, or a copy. */
static enum ak_rc bring(struct verification *v, const struct ak_snapshot_object *object,
                        struct ak_snapshot_bytes *bytes, struct ak_err *err)
{
    const struct ak_snapshot_ticker ticker = {tell_bytes, v};
    struct ak_file *copy = NULL;
    *bytes = (struct ak_snapshot_bytes){.store = v->store, .key = object->key};
    enum ak_rc rc = ak_snapshot_object_len(v->store, v->meta, object, &bytes->len, err);
    if (rc != AK_OK) {
        return rc;
    }
    v->now = bytes->len;
    bool is_file = ak_objstore_open_file(v->store, object->key, &bytes->file, NULL) == AK_OK;
    if (!is_file || ak_file_fd(bytes->file) < 0) { /* it could not be mapped */
        ak_file_close(is_file ? bytes->file : NULL);
        bytes->file = NULL;
        rc = open_unnamed(&copy, err);
    }
    if (rc == AK_OK) {
        rc = ak_snapshot_hash(bytes, object, copy, &ticker, err);
    }
    bytes->file = copy ? copy : bytes->file;
    v->report->bytes += bytes->len;
    v->done += bytes->len;
    v->now = 0;
    return rc;
}

static enum ak_rc open_image(struct verification *v, struct beside *beside, struct ak_err *err)
{
    struct ak_snapshot_bytes bytes;
    char path[64];
    enum ak_rc rc = bring(v, &v->meta->image, &bytes, err);
    if (rc == AK_OK) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", ak_file_fd(bytes.file));
        rc = ak_image_open_file(ak_fs_posix(), path, &beside->image, err);
    }
    ak_file_close(bytes.file);
    if (rc == AK_OK) {
        ak_image_stream(beside->image); /* read front to back, then beside the table */
        rc = ak_image_check_all(beside->image, err);
    }
    if (rc == AK_OK) {
        rc = need_sections(beside, err);
    }
    return rc == AK_OK ? rc : ak_wrap(err, rc, "object '%.*s'", AK_STR_ARG(v->meta->image.key));
}

static bool is_deleted(const struct beside *beside, uint64_t slot)
{
    const uint64_t *words = beside->deleted.p;
    return beside->has_deleted && (words[slot / 64] >> (slot % 64) & 1);
}

/* The next live slot, or `slots`. */
static uint64_t next_live(struct beside *beside)
{
    while (beside->slot < beside->slots && is_deleted(beside, beside->slot)) {
        beside->slot++;
    }
    return beside->slot;
}

/* The table's rows are in the order of the slots: what is behind them is not looked at again. */
static void let_go_behind(struct beside *beside)
{
    const struct ak_image_section *parts[] = {&beside->vectors, &beside->ids};
    if (beside->slot < beside->let_go + LET_GO_BYTES / beside->vectors.stride + 1) {
        return;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        uint64_t stride = parts[i]->stride;
        ak_image_let_go(beside->image, parts[i]->file_at + beside->let_go * stride,
                        parts[i]->file_at + beside->slot * stride);
    }
    beside->let_go = beside->slot;
}

static enum ak_rc hold_row(struct beside *beside, const struct ak_document *row, struct ak_err *err)
{
    uint64_t slot = next_live(beside);
    if (slot == beside->slots) {
        return ak_fail(err, AK_CORRUPT, "the image '%.*s' holds fewer documents than the table",
                       AK_STR_ARG(beside->key));
    }
    const struct ak_uuid *ids = beside->ids.p;
    const char *vector = (const char *)beside->vectors.p + slot * beside->vectors.stride;
    if (!ak_uuid_eq(&ids[slot], &row->id)) {
        return ak_fail(err, AK_CORRUPT, "slot %llu of the image '%.*s' is of another document",
                       (unsigned long long)slot, AK_STR_ARG(beside->key));
    }
    if (beside->lossless && memcmp(vector, row->vector, beside->dimension * sizeof(float)) != 0) {
        return ak_fail(err, AK_CORRUPT, "slot %llu of the image '%.*s' has another vector",
                       (unsigned long long)slot, AK_STR_ARG(beside->key));
    }
    beside->held += beside->lossless;
    beside->slot++;
    return AK_OK;
}

static enum ak_rc hold_rows(void *ctx, const struct ak_document *rows, size_t count,
                            struct ak_err *err)
{
    struct verification *v = ctx;
    struct beside *beside = v->beside;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < count && rc == AK_OK && beside->image; i++) {
        rc = hold_row(beside, &rows[i], err);
    }
    if (beside->image) {
        let_go_behind(beside);
    }
    v->rows += count;
    return rc == AK_OK ? ak_snapshot_tick(&v->ticker, fraction_of(v, 0), err) : rc;
}

/* --- The table --- */

/* JSON is hashed as it is read, front to back; so it is not brought. */
static enum ak_rc open_data(struct verification *v, struct ak_snapshot_bytes *bytes,
                            struct ak_err *err)
{
    const struct ak_snapshot_object *data = &v->meta->data;
    if (v->meta->format == AK_SNAPSHOT_PARQUET) {
        return bring(v, data, bytes, err);
    }
    *bytes = (struct ak_snapshot_bytes){.store = v->store, .key = data->key};
    enum ak_rc rc = ak_snapshot_object_len(v->store, v->meta, data, &bytes->len, err);
    v->report->bytes += bytes->len;
    return rc;
}

static enum ak_rc verify(struct verification *v, struct beside *beside, struct ak_err *err)
{
    struct ak_snapshot_bytes data;
    enum ak_rc rc = open_data(v, &data, err);
    if (rc == AK_OK && v->meta->has_image) {
        rc = open_image(v, beside, err);
    }
    if (rc == AK_OK) {
        rc = ak_snapshot_read_rows(&data, v->meta, hold_rows, v, &v->report->rows, err);
    }
    ak_file_close(data.file);
    if (rc == AK_OK && beside->image && next_live(beside) != beside->slots) {
        rc = ak_fail(err, AK_CORRUPT, "the image '%.*s' holds more documents than the table",
                     AK_STR_ARG(beside->key));
    }
    v->report->vectors_held = beside->held;
    return rc;
}

enum ak_rc ak_snapshot_verify(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                              ak_snapshot_progress progress, void *ctx,
                              struct ak_snapshot_report *report, struct ak_err *err)
{
    struct ak_snapshot_report found = {0};
    struct beside beside = {.dimension = meta->collection.dimension,
                            .lossless = meta->lossless,
                            .key = meta->image.key};
    struct verification v = {.store = store,
                             .meta = meta,
                             .report = &found,
                             .ticker = {progress, ctx},
                             .beside = &beside};
    char name[AK_SNAPSHOT_NAME_MAX];
    enum ak_rc rc = verify(&v, &beside, err);
    ak_image_close(beside.image);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "verify %s", ak_snapshot_name(&meta->id, name));
    }
    *report = found;
    return AK_OK;
}

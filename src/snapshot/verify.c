/* verify.c — is a snapshot whole? Every byte of its objects, every page, every row, and the rows of
 * the table against those of the image.
 *
 * Table and image hold the same documents in the same order (slots ascending), so they are read
 * side by side. The image comes to a temporary file without a name: it is mapped, never held in
 * memory.
 */
#include "base/mem.h"
#include "index/image.h"
#include "parquet/reader.h"
#include "snapshot/snapshot_priv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct beside { /* the image beside the table */
    struct ak_image *image;
    struct ak_image_section ids, vectors, deleted;
    bool has_deleted;
    uint64_t slots, slot; /* the next to look at */
    uint32_t dimension;
    bool lossless;
    struct ak_str key;
    uint64_t held;
};

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

static enum ak_rc open_image(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                             struct beside *beside, uint64_t *bytes, struct ak_err *err)
{
    struct ak_file *file = NULL;
    char path[64];
    uint64_t len = 0;
    enum ak_rc rc = ak_snapshot_object_len(store, meta, &meta->image, &len, err);
    if (rc == AK_OK) {
        rc = open_unnamed(&file, err);
    }
    if (rc == AK_OK) {
        rc = ak_snapshot_hash_object(store, &meta->image, len, file, err);
    }
    if (rc == AK_OK) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", ak_file_fd(file));
        rc = ak_image_open_file(ak_fs_posix(), path, &beside->image, err);
    }
    ak_file_close(file);
    if (rc == AK_OK) {
        ak_image_stream(beside->image); /* read front to back, then beside the table */
        rc = ak_image_check_all(beside->image, err);
    }
    if (rc == AK_OK) {
        rc = need_sections(beside, err);
    }
    *bytes += len;
    return rc == AK_OK ? rc : ak_wrap(err, rc, "object '%.*s'", AK_STR_ARG(meta->image.key));
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
    struct beside *beside = ctx;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < count && rc == AK_OK && beside->image; i++) {
        rc = hold_row(beside, &rows[i], err);
    }
    return rc;
}

/* --- The table --- */

static enum ak_rc check_pages(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                              uint64_t len, struct ak_err *err)
{
    struct ak_snapshot_bytes bytes = {.store = store, .key = meta->data.key, .len = len};
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_report report;
    enum ak_rc rc = ak_snapshot_parquet_open(&bytes, &reader, err);
    if (rc == AK_OK) {
        rc = ak_parquet_verify(reader, &report, err);
    }
    ak_parquet_close(reader);
    return rc;
}

static enum ak_rc verify(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                         struct beside *beside, struct ak_snapshot_report *report,
                         struct ak_err *err)
{
    uint64_t len = 0;
    enum ak_rc rc = ak_snapshot_object_len(store, meta, &meta->data, &len, err);
    if (rc == AK_OK) {
        rc = ak_snapshot_hash_object(store, &meta->data, len, NULL, err);
    }
    if (rc == AK_OK && meta->format == AK_SNAPSHOT_PARQUET) {
        rc = check_pages(store, meta, len, err);
    }
    report->bytes = len;
    if (rc == AK_OK && meta->has_image) {
        rc = open_image(store, meta, beside, &report->bytes, err);
    }
    if (rc == AK_OK) {
        rc = ak_snapshot_read_rows(store, meta, hold_rows, beside, &report->rows, err);
    }
    if (rc == AK_OK && beside->image && next_live(beside) != beside->slots) {
        rc = ak_fail(err, AK_CORRUPT, "the image '%.*s' holds more documents than the table",
                     AK_STR_ARG(beside->key));
    }
    report->vectors_held = beside->held;
    return rc;
}

enum ak_rc ak_snapshot_verify(struct ak_objstore *store, const struct ak_snapshot_meta *meta,
                              struct ak_snapshot_report *report, struct ak_err *err)
{
    struct ak_snapshot_report found = {0};
    struct beside beside = {.dimension = meta->collection.dimension,
                            .lossless = meta->lossless,
                            .key = meta->image.key};
    char name[AK_SNAPSHOT_NAME_MAX];
    enum ak_rc rc = verify(store, meta, &beside, &found, err);
    ak_image_close(beside.image);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "verify %s", ak_snapshot_name(&meta->id, name));
    }
    *report = found;
    return AK_OK;
}

/* image_write.c — an image is written front to back, once.
 *
 * States: create ──> between sections ──begin──> in a section ──end──> between ──commit──> freed.
 * The first failure sticks: every later call, commit included, repeats its code, so a caller that
 * overlooked one cannot publish half an image.
 *
 * A file is written as `path`.tmp: sections through a buffer in large writes, then the table, then
 * the header over the zeros that stood in its place, sync, rename, sync of the folder. The rename
 * is the commit point: before it there is nothing under `path` (or what was there before), after it
 * the whole image. The temporary name is fixed: the next try overwrites what a crash left.
 */
#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "index/image_priv.h"
#include <string.h>

#define BUFFER_BYTES ((size_t)1 << 20)
#define SYNC_BYTES ((uint64_t)8 << 20) /* on their way to the disk while more comes */

static const char zeros[AK_IMAGE_ALIGN_FILE];

struct ak_image_writer {
    struct ak_fs *fs; /* NULL for a blob */
    struct ak_file *file;
    char *path;
    struct ak_buf tmp; /* the temporary name */
    char *buffer;      /* file: bytes [at - buffered, at) not written yet */
    size_t buffered;
    struct ak_buf *blob;
    size_t blob_at; /* where the image begins in it */
    uint32_t align_shift;
    uint64_t at;    /* bytes of the image so far */
    uint64_t begun; /* of them on their way to the disk */
    struct ak_buf entries;
    struct ak_buf crcs;
    struct ak_image_entry open;
    bool is_open;
    uint64_t written; /* of the open section */
    uint32_t crc;     /* of its present block */
    enum ak_rc failed;
};

static enum ak_rc fail_for_good(struct ak_image_writer *writer, enum ak_rc rc)
{
    if (rc != AK_OK && writer->failed == AK_OK) {
        writer->failed = rc;
    }
    return rc;
}

static enum ak_rc refuse_after_failure(const struct ak_image_writer *writer, struct ak_err *err)
{
    return ak_fail(err, writer->failed, "the image could not be written before this call");
}

static enum ak_rc flush(struct ak_image_writer *writer, struct ak_err *err)
{
    if (writer->buffered == 0) {
        return AK_OK;
    }
    enum ak_rc rc = ak_file_write(writer->file, writer->at - writer->buffered, writer->buffer,
                                  writer->buffered, err);
    if (rc == AK_OK) {
        writer->buffered = 0;
    }
    return rc;
}

static enum ak_rc put_file(struct ak_image_writer *writer, const char *p, size_t len,
                           struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    while (rc == AK_OK && len) {
        size_t n = BUFFER_BYTES - writer->buffered;
        n = len < n ? len : n;
        if (writer->buffered == 0 && len >= BUFFER_BYTES) {
            n = len / BUFFER_BYTES * BUFFER_BYTES; /* large and in place: no need for the buffer */
            rc = ak_file_write(writer->file, writer->at, p, n, err);
        } else {
            memcpy(writer->buffer + writer->buffered, p, n);
            writer->buffered += n;
        }
        writer->at += n;
        p += n;
        len -= n;
        if (rc == AK_OK && writer->buffered == BUFFER_BYTES) {
            rc = flush(writer, err);
        }
        uint64_t behind = writer->at - writer->buffered;
        if (rc == AK_OK && behind - writer->begun >= SYNC_BYTES) {
            ak_file_begin_sync(writer->file, writer->begun, behind - writer->begun);
            writer->begun = behind;
        }
    }
    return rc;
}

static enum ak_rc put(struct ak_image_writer *writer, const void *p, size_t len, struct ak_err *err)
{
    if (writer->fs) {
        return put_file(writer, p, len, err);
    }
    ak_buf_add(writer->blob, p, len);
    writer->at += len;
    return ak_buf_check(writer->blob, err);
}

/* Zeros up to the next multiple of the alignment. */
static enum ak_rc pad(struct ak_image_writer *writer, struct ak_err *err)
{
    size_t align = (size_t)1 << writer->align_shift;
    size_t over = (size_t)(writer->at & (align - 1));
    return over ? put(writer, zeros, align - over, err) : AK_OK;
}

/* Our own lists stay far below their ceilings, so what failed there was the allocation. */
static enum ak_rc check_memory(const struct ak_buf *list, struct ak_err *err)
{
    return list->failed ? ak_fail(err, AK_NOMEM, "no memory for the image's table") : AK_OK;
}

static struct ak_image_writer *new_writer(uint32_t align)
{
    struct ak_image_writer *writer = ak_zalloc(sizeof *writer);
    writer->align_shift = (uint32_t)__builtin_ctz(align);
    ak_buf_init(&writer->tmp, 0);
    ak_buf_init(&writer->entries, 0);
    ak_buf_init(&writer->crcs, 0);
    return writer;
}

static void free_writer(struct ak_image_writer *writer)
{
    ak_file_close(writer->file);
    ak_free(writer->path);
    ak_free(writer->buffer);
    ak_buf_release(&writer->tmp);
    ak_buf_release(&writer->entries);
    ak_buf_release(&writer->crcs);
    ak_free(writer);
}

void ak_image_abort(struct ak_image_writer *writer)
{
    if (!writer) {
        return;
    }
    if (writer->blob && writer->blob->len > writer->blob_at) {
        writer->blob->len = writer->blob_at;
    }
    if (writer->file) {
        ak_file_close(writer->file);
        writer->file = NULL;
        struct ak_err ignored; /* the failure that led here is the one to report */
        (void)!ak_fs_remove(writer->fs, ak_buf_cstr(&writer->tmp), &ignored);
    }
    free_writer(writer);
}

enum ak_rc ak_image_create_file(struct ak_fs *fs, const char *path, struct ak_image_writer **out,
                                struct ak_err *err)
{
    struct ak_image_writer *writer = new_writer(AK_IMAGE_ALIGN_FILE);
    writer->fs = fs;
    writer->path = ak_strdup_n(path, strlen(path));
    writer->buffer = ak_try_alloc(BUFFER_BYTES);
    ak_buf_add_fmt(&writer->tmp, "%s.tmp", path);
    const char *tmp = ak_buf_cstr(&writer->tmp);
    enum ak_rc rc = check_memory(&writer->tmp, err);
    if (rc == AK_OK && !writer->buffer) {
        rc = ak_fail(err, AK_NOMEM, "no memory for a write buffer of %zu bytes", BUFFER_BYTES);
    }
    if (rc == AK_OK) {
        unsigned flags = AK_OPEN_WRITE | AK_OPEN_CREATE | AK_OPEN_TRUNCATE;
        rc = ak_fs_open(fs, tmp, flags, &writer->file, err);
    }
    if (rc == AK_OK) {
        rc = put(writer, zeros, AK_IMAGE_ALIGN_FILE, err); /* the header's place */
    }
    if (rc != AK_OK) {
        ak_image_abort(writer);
        return ak_wrap(err, rc, "create image '%s'", path);
    }
    *out = writer;
    return AK_OK;
}

enum ak_rc ak_image_create_blob(struct ak_buf *out, struct ak_image_writer **result,
                                struct ak_err *err)
{
    struct ak_image_writer *writer = new_writer(AK_IMAGE_ALIGN_BLOB);
    writer->blob = out;
    writer->blob_at = out->len;
    enum ak_rc rc = put(writer, zeros, AK_IMAGE_ALIGN_BLOB, err);
    if (rc != AK_OK) {
        ak_image_abort(writer);
        return ak_wrap(err, rc, "create an image in memory");
    }
    *result = writer;
    return AK_OK;
}

static bool has_kind(const struct ak_image_writer *writer, uint32_t kind)
{
    const struct ak_image_entry *entries = (const void *)writer->entries.p;
    for (size_t i = 0; i < writer->entries.len / sizeof *entries; i++) {
        if (entries[i].kind == kind) {
            return true;
        }
    }
    return false;
}

enum ak_rc ak_image_begin(struct ak_image_writer *writer, uint32_t kind, uint64_t stride,
                          uint64_t rows, struct ak_err *err)
{
    if (writer->failed != AK_OK) {
        return refuse_after_failure(writer, err);
    }
    AK_ASSERT(!writer->is_open && stride > 0 && !has_kind(writer, kind));
    uint64_t len = 0;
    uint64_t blocks = writer->crcs.len / sizeof(uint32_t);
    if (writer->entries.len / sizeof(struct ak_image_entry) == AK_IMAGE_SECTIONS_MAX) {
        return fail_for_good(writer, ak_fail(err, AK_TOO_BIG, "an image has at most %u sections",
                                             AK_IMAGE_SECTIONS_MAX));
    }
    if (__builtin_mul_overflow(stride, rows, &len) || len > INT64_MAX - writer->at) {
        return fail_for_good(writer, ak_fail(err, AK_TOO_BIG, "section %u of an image: %llu rows",
                                             kind, (unsigned long long)rows));
    }
    enum ak_rc rc = pad(writer, err);
    if (rc != AK_OK) {
        return fail_for_good(writer, rc);
    }
    writer->open = (struct ak_image_entry){
        .kind = kind,
        .stride = stride,
        .rows = rows,
        .at = writer->at,
        .len = len,
        .block_first = (uint32_t)blocks,
        .block_count = (uint32_t)((len + AK_IMAGE_BLOCK - 1) / AK_IMAGE_BLOCK),
    };
    writer->is_open = true;
    writer->written = 0;
    writer->crc = 0;
    return AK_OK;
}

static void end_block(struct ak_image_writer *writer)
{
    ak_buf_add(&writer->crcs, &writer->crc, sizeof writer->crc);
    writer->crc = 0;
}

enum ak_rc ak_image_write(struct ak_image_writer *writer, const void *p, size_t len,
                          struct ak_err *err)
{
    if (writer->failed != AK_OK) {
        return refuse_after_failure(writer, err);
    }
    AK_ASSERT(writer->is_open);
    if (len > writer->open.len - writer->written) {
        return fail_for_good(
            writer, ak_fail(err, AK_INTERNAL, "section %u of an image gets more than %llu bytes",
                            writer->open.kind, (unsigned long long)writer->open.len));
    }
    for (size_t done = 0; done < len;) {
        uint64_t room = AK_IMAGE_BLOCK - writer->written % AK_IMAGE_BLOCK;
        size_t n = len - done < room ? len - done : (size_t)room;
        writer->crc = ak_crc32c(writer->crc, (const char *)p + done, n);
        writer->written += n;
        done += n;
        if (n == room) {
            end_block(writer);
        }
    }
    return fail_for_good(writer, put(writer, p, len, err));
}

enum ak_rc ak_image_end(struct ak_image_writer *writer, struct ak_err *err)
{
    if (writer->failed != AK_OK) {
        return refuse_after_failure(writer, err);
    }
    AK_ASSERT(writer->is_open);
    if (writer->written != writer->open.len) {
        return fail_for_good(writer, ak_fail(err, AK_INTERNAL,
                                             "section %u of an image got %llu bytes, not %llu",
                                             writer->open.kind, (unsigned long long)writer->written,
                                             (unsigned long long)writer->open.len));
    }
    if (writer->written % AK_IMAGE_BLOCK) {
        end_block(writer);
    }
    ak_buf_add(&writer->entries, &writer->open, sizeof writer->open);
    writer->is_open = false;
    enum ak_rc rc = check_memory(&writer->entries, err);
    if (rc == AK_OK) {
        rc = check_memory(&writer->crcs, err);
    }
    return fail_for_good(writer, rc);
}

enum ak_rc ak_image_put(struct ak_image_writer *writer, uint32_t kind, uint64_t stride,
                        uint64_t rows, const void *p, struct ak_err *err)
{
    enum ak_rc rc = ak_image_begin(writer, kind, stride, rows, err);
    if (rc == AK_OK) {
        rc = ak_image_write(writer, p, (size_t)(stride * rows), err);
    }
    return rc == AK_OK ? ak_image_end(writer, err) : rc;
}

/* The table, and the header into its place. */
static enum ak_rc finish(struct ak_image_writer *writer, struct ak_err *err)
{
    enum ak_rc rc = pad(writer, err);
    struct ak_image_header header = {
        .version = AK_IMAGE_VERSION,
        .align_shift = writer->align_shift,
        .toc_at = writer->at,
        .toc_len = writer->entries.len + writer->crcs.len,
        .sections = (uint32_t)(writer->entries.len / sizeof(struct ak_image_entry)),
    };
    header.file_len = header.toc_at + header.toc_len;
    header.toc_crc = ak_crc32c(0, writer->entries.p, writer->entries.len);
    header.toc_crc = ak_crc32c(header.toc_crc, writer->crcs.p, writer->crcs.len);
    memcpy(header.magic, AK_IMAGE_MAGIC, sizeof header.magic);
    header.crc = ak_crc32c(0, &header, offsetof(struct ak_image_header, crc));
    if (rc == AK_OK) {
        rc = put(writer, writer->entries.p, writer->entries.len, err);
    }
    if (rc == AK_OK) {
        rc = put(writer, writer->crcs.p, writer->crcs.len, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    if (writer->blob) {
        memcpy(writer->blob->p + writer->blob_at, &header, sizeof header);
        return AK_OK;
    }
    if (writer->buffered == writer->at) {
        memcpy(writer->buffer, &header, sizeof header); /* nothing is written yet: one write */
        return flush(writer, err);
    }
    rc = flush(writer, err);
    return rc == AK_OK ? ak_file_write(writer->file, 0, &header, sizeof header, err) : rc;
}

static enum ak_rc sync_folder(struct ak_fs *fs, const char *path, struct ak_err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash) {
        return ak_fs_sync_dir(fs, ".", err);
    }
    char *folder = ak_strdup_n(path, slash == path ? 1 : (size_t)(slash - path));
    enum ak_rc rc = ak_fs_sync_dir(fs, folder, err);
    ak_free(folder);
    return rc;
}

static enum ak_rc publish(struct ak_image_writer *writer, struct ak_err *err)
{
    ak_crash_point("image_before_sync");
    enum ak_rc rc = ak_file_sync(writer->file, err);
    ak_crash_point("image_before_rename");
    if (rc == AK_OK) {
        rc = ak_fs_rename(writer->fs, ak_buf_cstr(&writer->tmp), writer->path, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_file_close(writer->file); /* from here on there is no temporary file to remove */
    writer->file = NULL;
    ak_crash_point("image_after_rename");
    return sync_folder(writer->fs, writer->path, err);
}

enum ak_rc ak_image_commit(struct ak_image_writer *writer, uint64_t *bytes, struct ak_err *err)
{
    AK_ASSERT(!writer->is_open || writer->failed != AK_OK);
    bool is_sound = writer->failed == AK_OK;
    enum ak_rc rc = is_sound ? finish(writer, err) : refuse_after_failure(writer, err);
    uint64_t len = writer->at;
    if (rc == AK_OK && writer->fs) {
        rc = publish(writer, err);
    }
    if (rc != AK_OK) {
        rc = writer->fs ? ak_wrap(err, rc, "write image '%s'", writer->path)
                        : ak_wrap(err, rc, "write an image in memory");
        ak_image_abort(writer);
        return rc;
    }
    free_writer(writer);
    if (bytes) {
        *bytes = len;
    }
    return AK_OK;
}

/* image.h — the index image (.akx): one collection generation as checksummed sections.
 *
 * The same bytes are the hot index in RAM, the warm index mmap'd and the sidecar of a snapshot.
 * A header, sections aligned to `align` (4096 in a file, 64 in a small blob), a table of contents
 * with CRC32C per 256 KiB block of every section. Little-endian, position-independent, versioned;
 * readers skip kinds they don't know. Format: docs/formats/akx.md and the top of image.c.
 *
 * Atomic: a file is written under a temporary name and appears under `path` whole and synced, or
 * not at all. Threads: a writer belongs to one thread; an opened image is immutable.
 */
#pragma once
#include "base/file.h"
#include "base/str.h"

#define AK_IMAGE_ALIGN_FILE 4096u
#define AK_IMAGE_ALIGN_BLOB 64u

/* Kinds of section. 1–63 belong to the index, 64–127 to the engine. Numbers are never reused. */
enum ak_image_kind {
    AK_IMAGE_INDEX_STATE = 1,  /* struct of index_image.c: counts, entry point, parameters */
    AK_IMAGE_VECTORS = 2,      /* f32 rows, stride padded to 64 bytes */
    AK_IMAGE_SCALES = 3,       /* f32 per row: 1/‖x‖ (cosine) */
    AK_IMAGE_LINKS = 4,        /* u32[R] per row, level 0 */
    AK_IMAGE_LEVELS = 5,       /* u8 per row */
    AK_IMAGE_UPPER = 6,        /* upper links */
    AK_IMAGE_DELETED = 7,      /* u64 bitmap: tombstones */
    AK_IMAGE_FREE = 8,         /* u64 bitmap: slots that hold nothing */
    AK_IMAGE_PENDING = 9,      /* u32 slots not linked yet */
    AK_IMAGE_CODES = 10,       /* u8 rows, stride padded to 64 bytes */
    AK_IMAGE_QUANTIZER = 11,   /* mean, rotation seed, step */
    AK_IMAGE_CODE_TERMS = 12,  /* f32 per row */
    AK_IMAGE_DOC_STATE = 64,   /* struct of the engine: counts, LSN */
    AK_IMAGE_DOC_IDS = 65,     /* 16 bytes per row */
    AK_IMAGE_DOC_TIMES = 66,   /* i64 µs per row */
    AK_IMAGE_DOC_TEXT_AT = 67, /* {u64 at; u32 external_len; u32 metadata_len} per row */
    AK_IMAGE_DOC_TEXT = 68,    /* external ids and metadata, bytes */
    AK_IMAGE_DOC_MAP = 69,     /* reserved: the id table as stored */
    AK_IMAGE_RECALL = 70       /* struct ak_recall_curve of index/recall.h */
};

struct ak_image_writer;

/* Write a file: `path`.tmp until commit. */
AK_MUST enum ak_rc ak_image_create_file(struct ak_fs *fs, const char *path,
                                        struct ak_image_writer **writer, struct ak_err *err);
/* Write into a buffer, which stays the caller's. */
AK_MUST enum ak_rc ak_image_create_blob(struct ak_buf *out, struct ak_image_writer **writer,
                                        struct ak_err *err);
/* Sections one after the other: begin, any number of writes, end. */
AK_MUST enum ak_rc ak_image_begin(struct ak_image_writer *writer, uint32_t kind, uint64_t stride,
                                  uint64_t rows, struct ak_err *err);
AK_MUST enum ak_rc ak_image_write(struct ak_image_writer *writer, const void *p, size_t len,
                                  struct ak_err *err);
AK_MUST enum ak_rc ak_image_end(struct ak_image_writer *writer, struct ak_err *err);
/* begin + write + end. */
AK_MUST enum ak_rc ak_image_put(struct ak_image_writer *writer, uint32_t kind, uint64_t stride,
                                uint64_t rows, const void *p, struct ak_err *err);
/* Table of contents and header; for a file: sync, rename to `path`, sync the folder. Frees the
 * writer, also on failure. *bytes (may be NULL) is the size. */
AK_MUST enum ak_rc ak_image_commit(struct ak_image_writer *writer, uint64_t *bytes,
                                   struct ak_err *err);
void ak_image_abort(struct ak_image_writer *writer); /* remove what was written; NULL is fine */

struct ak_image;

struct ak_image_section {
    const void *p;
    uint64_t len; /* stride · rows */
    uint64_t stride;
    uint64_t rows;
    uint64_t file_at; /* offset in the file */
};

/* Map a file read-only. Header and table of contents are checked; AK_CORRUPT names the place. */
AK_MUST enum ak_rc ak_image_open_file(struct ak_fs *fs, const char *path, struct ak_image **image,
                                      struct ak_err *err);
/* A blob in memory: taken over (ak_free), also on failure. */
AK_MUST enum ak_rc ak_image_open_blob(char *bytes, size_t len, struct ak_image **image,
                                      struct ak_err *err);
void ak_image_close(struct ak_image *image); /* unmaps: no views may be in use; NULL is fine */
/* false: no such section. Views are valid until close. */
bool ak_image_find(const struct ak_image *image, uint32_t kind, struct ak_image_section *section);
/* The same, with stride and rows held against what is wanted: AK_CORRUPT otherwise. */
AK_MUST enum ak_rc ak_image_need(const struct ak_image *image, uint32_t kind, uint64_t stride,
                                 uint64_t rows, struct ak_image_section *section,
                                 struct ak_err *err);
/* Check the block checksums of one section (reads all its bytes). */
AK_MUST enum ak_rc ak_image_check(const struct ak_image *image, uint32_t kind, struct ak_err *err);
AK_MUST enum ak_rc ak_image_check_all(const struct ak_image *image, struct ak_err *err);
/* It will be read front to back, once: check_all and let_go below then give the pages that were
 * passed back to the system, so that an image of any size costs little memory. */
void ak_image_stream(struct ak_image *image);
/* Bytes [from, to) are not looked at for a while, those after `to` soon. Only advice: views stay
 * valid. */
void ak_image_let_go(const struct ak_image *image, uint64_t from, uint64_t to);
/* All of one section will be read, or read here and there, soon: ask the system for its pages, also
 * where the mapping is advised against read-ahead. Only advice; does not wait for the disk. Without
 * such a section nothing happens. */
void ak_image_bring(const struct ak_image *image, uint32_t kind);
/* Of AK_IMAGE_SAMPLES pages of a section, spread from a place that `seed` chooses: how many are not
 * in memory. A microsecond; 0 for what is no file, or has no such section. */
#define AK_IMAGE_SAMPLES 4u
unsigned ak_image_missing(const struct ak_image *image, uint32_t kind, uint64_t seed);
int ak_image_fd(const struct ak_image *image); /* -1 for a blob */
uint64_t ak_image_bytes(const struct ak_image *image);

/* image.c — opening an image: nothing in it is believed before it is checked.
 *
 *     0          header, 64 bytes: version, alignment, length, where the table is; CRC32C of itself
 *     align      section ┐ each at a multiple of the alignment, in the order of the table,
 *     …          section ┘ zeros between them
 *     toc_at     table of contents: an entry of 48 bytes per section, then a CRC32C (u32) for every
 *                block of 256 KiB of every section, in order; it ends the file
 *
 * The alignment is 4096 in a file, so that a section can be mapped by itself, and 64 in a blob.
 *
 * I1  After open every section lies inside [align, toc_at), behind the one before it; its length is
 *     stride · rows without overflow; no kind occurs twice.
 * I2  The header's checksum covers the header, the header's toc_crc the table, the table every byte
 *     of every section; what is left between them is zero. So check_all() finds any changed byte.
 * I3  open() reads the header and the table only: a warm image costs two pages until it
 *     is searched.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "index/image_priv.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* From this size on a graph walk's reads are far apart, and the kernel's read-ahead around each
 * would bring in sixty times what is needed; smaller images are in memory after a few of them. */
#define RANDOM_ADVICE_MIN ((uint64_t)64 << 20)
/* What is asked for at once: the kernel cuts a request to its read-ahead window, and 128 KiB is the
 * usual one. */
#define BRING_BYTES ((uint64_t)128 << 10)

struct ak_image {
    const char *bytes;
    uint64_t len;
    struct ak_file *file; /* mapped; NULL: `bytes` is our memory */
    char *name;           /* for messages: the path, or NULL */
    const struct ak_image_entry *entries;
    uint32_t sections;
    const uint32_t *crcs;
    uint64_t toc_at;
    bool streams; /* pages are let go behind the reader */
};

const char *ak_image_kind_name(uint32_t kind)
{
    static const struct {
        uint32_t kind;
        const char *name;
    } names[] = {
        {AK_IMAGE_INDEX_STATE, "index state"},
        {AK_IMAGE_VECTORS, "vectors"},
        {AK_IMAGE_SCALES, "scales"},
        {AK_IMAGE_LINKS, "links"},
        {AK_IMAGE_LEVELS, "levels"},
        {AK_IMAGE_UPPER, "upper links"},
        {AK_IMAGE_DELETED, "deleted"},
        {AK_IMAGE_FREE, "free"},
        {AK_IMAGE_PENDING, "pending"},
        {AK_IMAGE_CODES, "codes"},
        {AK_IMAGE_CODE_TERMS, "code terms"},
        {AK_IMAGE_QUANTIZER, "quantizer"},
        {AK_IMAGE_DOC_STATE, "document state"},
        {AK_IMAGE_DOC_IDS, "document ids"},
        {AK_IMAGE_DOC_TIMES, "document times"},
        {AK_IMAGE_DOC_TEXT_AT, "text places"},
        {AK_IMAGE_DOC_TEXT, "texts"},
        {AK_IMAGE_DOC_MAP, "id table"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].kind == kind) {
            return names[i].name;
        }
    }
    return "unknown";
}

/* "what at byte `at`" as AK_CORRUPT, with the image's name in front. */
static enum ak_rc corrupt(const struct ak_image *image, uint64_t at, const char *what,
                          struct ak_err *err)
{
    return ak_fail(err, AK_CORRUPT, "image %s: at byte %llu: %s",
                   image->name ? image->name : "in memory", (unsigned long long)at, what);
}

static enum ak_rc corrupt_section(const struct ak_image *image, uint32_t kind, uint64_t at,
                                  const char *what, struct ak_err *err)
{
    return ak_fail(err, AK_CORRUPT, "image %s: at byte %llu: section %u (%s): %s",
                   image->name ? image->name : "in memory", (unsigned long long)at, kind,
                   ak_image_kind_name(kind), what);
}

/* Header fields against each other and the file's length; fills what the table needs. */
static enum ak_rc check_header(struct ak_image *image, uint64_t *align, struct ak_err *err)
{
    struct ak_image_header header;
    if (image->len < sizeof header) {
        return corrupt(image, image->len, "ends inside the header", err);
    }
    memcpy(&header, image->bytes, sizeof header);
    if (memcmp(header.magic, AK_IMAGE_MAGIC, sizeof header.magic) != 0) {
        return corrupt(image, 0, "this is not an index image", err);
    }
    if (header.crc != ak_crc32c(0, &header, offsetof(struct ak_image_header, crc))) {
        return corrupt(image, 0, "the header's checksum does not match", err);
    }
    if (header.version != AK_IMAGE_VERSION) {
        return ak_fail(err, AK_UNSUPPORTED, "image %s: version %u; this AkiDB reads version %u",
                       image->name ? image->name : "in memory", header.version, AK_IMAGE_VERSION);
    }
    if (header.align_shift < AK_IMAGE_ALIGN_SHIFT_MIN ||
        header.align_shift > AK_IMAGE_ALIGN_SHIFT_MAX) {
        return corrupt(image, offsetof(struct ak_image_header, align_shift), "odd alignment", err);
    }
    *align = (uint64_t)1 << header.align_shift;
    if (header.file_len != image->len) {
        return corrupt(image, image->len, "the image ends here, the header has another length",
                       err);
    }
    if (header.toc_at < *align || header.toc_at % *align || header.toc_at > image->len ||
        header.toc_len != image->len - header.toc_at) {
        return corrupt(image, offsetof(struct ak_image_header, toc_at),
                       "the table of contents is out of place", err);
    }
    if (header.sections > AK_IMAGE_SECTIONS_MAX ||
        header.sections * sizeof(struct ak_image_entry) > header.toc_len) {
        return corrupt(image, offsetof(struct ak_image_header, sections), "too many sections", err);
    }
    const char *toc = image->bytes + header.toc_at;
    if (header.toc_crc != ak_crc32c(0, toc, (size_t)header.toc_len)) {
        return corrupt(image, header.toc_at, "the table's checksum does not match", err);
    }
    image->toc_at = header.toc_at;
    image->sections = header.sections;
    image->entries = (const void *)toc;
    image->crcs = (const void *)(toc + header.sections * sizeof(struct ak_image_entry));
    return AK_OK;
}

static bool kind_came_before(const struct ak_image *image, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++) {
        if (image->entries[j].kind == image->entries[i].kind) {
            return true;
        }
    }
    return false;
}

/* The first thing wrong with entry `i`, or NULL. `end` is where the section before it ends. */
static const char *entry_fault(const struct ak_image *image, uint32_t i, uint64_t align,
                               uint64_t end, uint64_t blocks)
{
    const struct ak_image_entry *entry = &image->entries[i];
    uint64_t len = 0;
    if (entry->stride == 0 || __builtin_mul_overflow(entry->stride, entry->rows, &len) ||
        len != entry->len) {
        return "its length is not stride · rows";
    }
    if (entry->at % align || entry->at < end || entry->at > image->toc_at ||
        len > image->toc_at - entry->at) {
        return "it is out of place";
    }
    if (entry->block_first != blocks ||
        entry->block_count != len / AK_IMAGE_BLOCK + (len % AK_IMAGE_BLOCK != 0)) {
        return "its checksums are out of place";
    }
    return kind_came_before(image, i) ? "there are two of this kind" : NULL;
}

static enum ak_rc check_table(const struct ak_image *image, uint64_t align, struct ak_err *err)
{
    uint64_t end = align;
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < image->sections; i++) {
        const struct ak_image_entry *entry = &image->entries[i];
        const char *fault = entry_fault(image, i, align, end, blocks);
        if (fault) {
            uint64_t at = image->toc_at + i * sizeof *entry;
            return corrupt_section(image, entry->kind, at, fault, err);
        }
        end = entry->at + entry->len;
        blocks += entry->block_count;
    }
    uint64_t want = image->sections * sizeof(struct ak_image_entry) + blocks * sizeof(uint32_t);
    if (image->len - image->toc_at != want) {
        return corrupt(image, image->toc_at, "the table of contents has another length", err);
    }
    return AK_OK;
}

static enum ak_rc check_layout(struct ak_image *image, struct ak_err *err)
{
    uint64_t align = 0;
    enum ak_rc rc = check_header(image, &align, err);
    return rc == AK_OK ? check_table(image, align, err) : rc;
}

/* A file without a descriptor (a test's) is read instead of mapped. */
static enum ak_rc read_file(struct ak_image *image, struct ak_err *err)
{
    char *bytes = ak_try_alloc_aligned(AK_IMAGE_ALIGN_BLOB, (size_t)image->len);
    if (!bytes) {
        return ak_fail(err, AK_NOMEM, "no memory for an image of %llu bytes",
                       (unsigned long long)image->len);
    }
    image->bytes = bytes;
    enum ak_rc rc = ak_file_read_exact(image->file, 0, bytes, (size_t)image->len, err);
    ak_file_close(image->file);
    image->file = NULL;
    return rc;
}

static enum ak_rc map_file(struct ak_image *image, struct ak_err *err)
{
    void *p = mmap(NULL, (size_t)image->len, PROT_READ, MAP_SHARED, ak_file_fd(image->file), 0);
    if (p == MAP_FAILED) {
        return ak_fail_errno(err, errno, "map %llu bytes", (unsigned long long)image->len);
    }
    image->bytes = p;
    if (image->len >= RANDOM_ADVICE_MIN) {
        (void)madvise(p, (size_t)image->len, MADV_RANDOM);
    }
    return AK_OK;
}

enum ak_rc ak_image_open_file(struct ak_fs *fs, const char *path, struct ak_image **out,
                              struct ak_err *err)
{
    struct ak_image *image = ak_zalloc(sizeof *image);
    image->name = ak_strdup_n(path, strlen(path));
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &image->file, err);
    if (rc == AK_OK) {
        rc = ak_file_size(image->file, &image->len, err);
    }
    if (rc == AK_OK && image->len < sizeof(struct ak_image_header)) {
        rc = corrupt(image, image->len, "ends inside the header", err); /* and mmap refuses 0 */
    } else if (rc == AK_OK) {
        rc = ak_file_fd(image->file) < 0 ? read_file(image, err) : map_file(image, err);
        rc = rc == AK_OK ? check_layout(image, err) : rc;
    }
    if (rc != AK_OK) {
        ak_image_close(image);
        return rc;
    }
    *out = image;
    return AK_OK;
}

enum ak_rc ak_image_open_blob(char *bytes, size_t len, struct ak_image **out, struct ak_err *err)
{
    struct ak_image *image = ak_zalloc(sizeof *image);
    /* Sections must be aligned as in a file, and ak_alloc() promises 16 bytes only. */
    if ((uintptr_t)bytes % AK_IMAGE_ALIGN_BLOB) {
        char *aligned = ak_try_alloc_aligned(AK_IMAGE_ALIGN_BLOB, len);
        if (aligned) {
            memcpy(aligned, bytes, len);
        }
        ak_free(bytes);
        bytes = aligned;
    }
    image->bytes = bytes;
    image->len = len;
    enum ak_rc rc = bytes || len == 0 ? check_layout(image, err)
                                      : ak_fail(err, AK_NOMEM, "no memory for %zu bytes", len);
    if (rc != AK_OK) {
        ak_image_close(image);
        return rc;
    }
    *out = image;
    return AK_OK;
}

void ak_image_close(struct ak_image *image)
{
    if (!image) {
        return;
    }
    union {
        const char *in;
        void *out;
    } bytes = {.in = image->bytes}; /* const while it is open; ours to free now */
    if (!image->file) {
        ak_free(bytes.out);
    } else if (bytes.out) {
        (void)munmap(bytes.out, (size_t)image->len);
    }
    ak_file_close(image->file);
    ak_free(image->name);
    ak_free(image);
}

static const struct ak_image_entry *find_entry(const struct ak_image *image, uint32_t kind)
{
    for (uint32_t i = 0; i < image->sections; i++) {
        if (image->entries[i].kind == kind && image->entries[i].flags == 0) {
            return &image->entries[i];
        }
    }
    return NULL;
}

bool ak_image_find(const struct ak_image *image, uint32_t kind, struct ak_image_section *section)
{
    const struct ak_image_entry *entry = find_entry(image, kind);
    if (!entry) {
        return false;
    }
    *section = (struct ak_image_section){
        .p = image->bytes + entry->at,
        .len = entry->len,
        .stride = entry->stride,
        .rows = entry->rows,
        .file_at = entry->at,
    };
    return true;
}

enum ak_rc ak_image_need(const struct ak_image *image, uint32_t kind, uint64_t stride,
                         uint64_t rows, struct ak_image_section *section, struct ak_err *err)
{
    const struct ak_image_entry *entry = find_entry(image, kind);
    if (!entry) {
        return corrupt_section(image, kind, image->toc_at, "there is none", err);
    }
    if (entry->stride != stride || entry->rows != rows) {
        return ak_fail(err, AK_CORRUPT,
                       "image %s: section %u (%s) has %llu rows of %llu bytes, not %llu of %llu",
                       image->name ? image->name : "in memory", kind, ak_image_kind_name(kind),
                       (unsigned long long)entry->rows, (unsigned long long)entry->stride,
                       (unsigned long long)rows, (unsigned long long)stride);
    }
    (void)ak_image_find(image, kind, section);
    return AK_OK;
}

/* Bring in what is checked next: the mapping may be advised against read-ahead. */
static void read_ahead(const struct ak_image *image, uint64_t at, uint64_t end)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    at = at / page * page;
    if (image->file && at < end) {
        union {
            const char *in;
            void *out;
        } from = {.in = image->bytes + at};
        uint64_t len = end - at < 4 * AK_IMAGE_BLOCK ? end - at : 4 * AK_IMAGE_BLOCK;
        /* Mapping a megabyte at once costs a tenth of the faults that it saves. */
        if (!image->streams || madvise(from.out, (size_t)len, MADV_POPULATE_READ) != 0) {
            (void)madvise(from.out, (size_t)len, MADV_WILLNEED);
        }
    }
}

static enum ak_rc check_entry(const struct ak_image *image, const struct ak_image_entry *entry,
                              struct ak_err *err)
{
    uint64_t end = entry->at + entry->len;
    uint64_t at = entry->at;
    for (uint32_t i = 0; i < entry->block_count; i++) {
        if (i % 4 == 0) {
            read_ahead(image, at, end);
        }
        uint64_t len = end - at < AK_IMAGE_BLOCK ? end - at : AK_IMAGE_BLOCK;
        if (ak_crc32c(0, image->bytes + at, (size_t)len) != image->crcs[entry->block_first + i]) {
            return corrupt_section(image, entry->kind, at,
                                   "the checksum of a block that begins here does not match", err);
        }
        at += len;
        if (image->streams && (i % 16 == 15 || i + 1 == entry->block_count)) {
            ak_image_let_go(image, entry->at, at);
        }
    }
    return AK_OK;
}

enum ak_rc ak_image_check(const struct ak_image *image, uint32_t kind, struct ak_err *err)
{
    const struct ak_image_entry *entry = find_entry(image, kind);
    return entry ? check_entry(image, entry, err)
                 : corrupt_section(image, kind, image->toc_at, "there is none", err);
}

static enum ak_rc check_zeros(const struct ak_image *image, uint64_t from, uint64_t to,
                              struct ak_err *err)
{
    for (uint64_t at = from; at < to; at++) {
        if (image->bytes[at]) {
            return corrupt(image, at, "padding is not zero", err);
        }
    }
    return AK_OK;
}

enum ak_rc ak_image_check_all(const struct ak_image *image, struct ak_err *err)
{
    uint64_t end = sizeof(struct ak_image_header);
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 0; i < image->sections && rc == AK_OK; i++) {
        const struct ak_image_entry *entry = &image->entries[i];
        rc = check_zeros(image, end, entry->at, err);
        if (rc == AK_OK) {
            rc = check_entry(image, entry, err);
        }
        end = entry->at + entry->len;
    }
    return rc == AK_OK ? check_zeros(image, end, image->toc_at, err) : rc;
}

void ak_image_stream(struct ak_image *image)
{
    image->streams = true;
}

void ak_image_let_go(const struct ak_image *image, uint64_t from, uint64_t to)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    from = (from + page - 1) / page * page;
    to = to / page * page;
    if (!image->file) {
        return;
    }
    read_ahead(image, to, image->len);
    if (from < to && to <= image->len) {
        union {
            const char *in;
            void *out;
        } at = {.in = image->bytes + from};
        (void)madvise(at.out, (size_t)(to - from), MADV_DONTNEED); /* shared: nothing is lost */
    }
}

void ak_image_bring(const struct ak_image *image, uint32_t kind)
{
    const struct ak_image_entry *entry = find_entry(image, kind);
    if (!entry || !image->file) {
        return;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = entry->at + entry->len;
    for (uint64_t at = entry->at / page * page; at < end; at += BRING_BYTES) {
        union {
            const char *in;
            void *out;
        } from = {.in = image->bytes + at};
        uint64_t len = end - at < BRING_BYTES ? end - at : BRING_BYTES;
        (void)madvise(from.out, (size_t)len, MADV_WILLNEED);
    }
}

unsigned ak_image_missing(const struct ak_image *image, uint32_t kind, uint64_t seed)
{
    const struct ak_image_entry *entry = find_entry(image, kind);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t pages = entry && image->file ? entry->len / page : 0;
    unsigned missing = 0;
    for (uint64_t i = 0; pages && i < AK_IMAGE_SAMPLES; i++) {
        uint64_t at = entry->at / page + (seed % pages + pages / AK_IMAGE_SAMPLES * i) % pages;
        unsigned char is_there = 1;
        union {
            const char *in;
            void *out;
        } from = {.in = image->bytes + at * page};
        missing += mincore(from.out, (size_t)page, &is_there) == 0 && !(is_there & 1);
    }
    return missing;
}

int ak_image_fd(const struct ak_image *image)
{
    return image->file ? ak_file_fd(image->file) : -1;
}

uint64_t ak_image_bytes(const struct ak_image *image)
{
    return image->len;
}

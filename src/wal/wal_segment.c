/* wal_segment.c — bytes of the headers; names and files of segments (docs/formats/wal.md). */
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "wal/wal_priv.h"
#include <stdio.h>
#include <string.h>

#define SEGMENT_FIELDS_BYTES 44u /* up to and with the CRC; all in one sector */
#define SEGMENT_CRC_AT 40u
#define RECORD_CRC_AT 28u
#define NAME_DIGITS 16u

static const unsigned char magic[8] = {'A', 'K', 'W', 'A', 'L', 0, 0, 0};

static void put_u32(unsigned char *to, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        to[i] = (unsigned char)(v >> (8 * i));
    }
}

static void put_u64(unsigned char *to, uint64_t v)
{
    put_u32(to, (uint32_t)v);
    put_u32(to + 4, (uint32_t)(v >> 32));
}

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const unsigned char *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

void ak_wal_encode_record(const struct wal_record_header *header, uint32_t seed,
                          unsigned char to[WAL_RECORD_HEADER_BYTES])
{
    put_u32(to, header->kind);
    put_u32(to + 4, header->len);
    put_u64(to + 8, header->lsn);
    put_u64(to + 16, header->durable);
    put_u32(to + 24, header->payload_crc);
    put_u32(to + RECORD_CRC_AT, ak_crc32c(seed, to, RECORD_CRC_AT));
}

bool ak_wal_decode_record(const unsigned char from[WAL_RECORD_HEADER_BYTES], uint32_t seed,
                          ak_lsn lsn, uint64_t left, struct wal_record_header *header)
{
    /* The LSN comes first: it differs almost everywhere, so a scan pays one compare per place. */
    if (get_u64(from + 8) != lsn || left < WAL_RECORD_HEADER_BYTES ||
        get_u32(from + RECORD_CRC_AT) != ak_crc32c(seed, from, RECORD_CRC_AT)) {
        return false;
    }
    struct wal_record_header h = {
        .kind = get_u32(from),
        .len = get_u32(from + 4),
        .lsn = lsn,
        .durable = get_u64(from + 16),
        .payload_crc = get_u32(from + 24),
    };
    bool len_fits = h.kind == WAL_KIND_PAD
                        ? h.len == left - WAL_RECORD_HEADER_BYTES
                        : h.len <= AK_WAL_RECORD_MAX && ak_wal_record_bytes(h.len) <= left;
    if (!len_fits || h.durable > lsn) {
        return false;
    }
    *header = h;
    return true;
}

static uint32_t seed_of(uint64_t salt)
{
    unsigned char bytes[8];
    put_u64(bytes, salt);
    return ak_crc32c(0, bytes, sizeof bytes);
}

void ak_wal_segment_salt(struct wal_segment *segment)
{
    ak_random_bytes(&segment->salt, sizeof segment->salt);
    segment->seed = seed_of(segment->salt);
}

void ak_wal_segment_path(const char *dir, ak_lsn start, char path[WAL_PATH_MAX])
{
    (void)snprintf(path, WAL_PATH_MAX, "%s/%016llx.wal", dir, (unsigned long long)start);
}

void ak_wal_spare_path(const char *dir, uint64_t id, char path[WAL_PATH_MAX])
{
    (void)snprintf(path, WAL_PATH_MAX, "%s/spare-%llu.wal", dir, (unsigned long long)id);
}

static bool parse_hex(struct ak_str s, uint64_t *number)
{
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *number = value;
    return s.len == NAME_DIGITS;
}

bool ak_wal_parse_name(struct ak_str name, bool *is_spare, uint64_t *number)
{
    if (!ak_str_has_suffix(name, AK_STR(".wal"))) {
        return false;
    }
    struct ak_str stem = ak_str_sub(name, 0, name.len - 4);
    *is_spare = ak_str_has_prefix(stem, AK_STR("spare-"));
    return *is_spare ? ak_str_u64(ak_str_sub(stem, 6, stem.len), UINT64_MAX - 1, number)
                     : parse_hex(stem, number);
}

static enum ak_rc check_segment_header(const unsigned char *p, ak_lsn start, uint64_t size,
                                       struct wal_segment *segment, struct ak_err *err)
{
    if (memcmp(p, magic, sizeof magic) != 0 ||
        get_u32(p + SEGMENT_CRC_AT) != ak_crc32c(0, p, SEGMENT_CRC_AT)) {
        return ak_fail(err, AK_CORRUPT, "the header at byte 0 is damaged");
    }
    if (get_u32(p + 8) != WAL_VERSION) {
        return ak_fail(err, AK_UNSUPPORTED, "format version %u is newer than this program's %u",
                       get_u32(p + 8), WAL_VERSION);
    }
    segment->start = get_u64(p + 16);
    segment->bytes = get_u64(p + 24);
    segment->salt = get_u64(p + 32);
    segment->seed = seed_of(segment->salt);
    if (segment->start != start) {
        return ak_fail(err, AK_CORRUPT, "the header says that it starts at LSN %llu",
                       (unsigned long long)segment->start);
    }
    if (get_u32(p + 12) != WAL_SEGMENT_HEADER_BYTES || segment->bytes < WAL_SEGMENT_BYTES_MIN ||
        segment->bytes > WAL_SEGMENT_BYTES_MAX || segment->bytes % WAL_ALIGN != 0 ||
        start > UINT64_MAX - WAL_SEGMENT_BYTES_MAX) {
        return ak_fail(err, AK_CORRUPT, "the header gives a size of %llu bytes",
                       (unsigned long long)segment->bytes);
    }
    if (size < segment->bytes) {
        return ak_fail(err, AK_CORRUPT, "the file has been cut to %llu of its %llu bytes",
                       (unsigned long long)size, (unsigned long long)segment->bytes);
    }
    return AK_OK;
}

enum ak_rc ak_wal_segment_open(struct ak_fs *fs, const char *dir, ak_lsn start,
                               struct wal_segment **out, struct ak_err *err)
{
    char path[WAL_PATH_MAX];
    ak_wal_segment_path(dir, start, path);
    struct wal_segment *segment = ak_zalloc(sizeof *segment);
    unsigned char header[SEGMENT_FIELDS_BYTES];
    uint64_t size = 0;
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_WRITE, &segment->file, err);
    if (rc == AK_OK) {
        rc = ak_file_size(segment->file, &size, err);
    }
    if (rc == AK_OK) {
        rc = ak_file_read_exact(segment->file, 0, header, sizeof header, err);
    }
    if (rc == AK_OK) {
        rc = check_segment_header(header, start, size, segment, err);
    }
    if (rc != AK_OK) {
        ak_wal_segment_free(segment);
        return ak_wrap(err, rc, "log segment '%s'", path);
    }
    segment->named = true;
    *out = segment;
    return AK_OK;
}

void ak_wal_segment_free(struct wal_segment *segment)
{
    if (segment) {
        ak_file_close(segment->file);
        ak_free(segment);
    }
}

static enum ak_rc spare_create(struct ak_fs *fs, const char *dir, struct wal_spare *spare,
                               uint64_t bytes, struct ak_err *err)
{
    char path[WAL_PATH_MAX];
    ak_wal_spare_path(dir, spare->id, path);
    struct ak_file *file = NULL;
    uint64_t size = 0;
    /* Not truncated: a spare left by the last run has written blocks, which are the cheap ones. */
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_WRITE | AK_OPEN_CREATE, &file, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_file_size(file, &size, err);
    if (rc == AK_OK && size > bytes) {
        rc = ak_file_truncate(file, bytes, err);
    }
    if (rc == AK_OK) {
        rc = ak_file_allocate(file, 0, bytes, err);
    }
    if (rc == AK_OK) {
        rc = ak_file_sync(file, err);
    }
    if (rc != AK_OK) {
        struct ak_err ignored; /* the first failure is the one to report */
        ak_file_close(file);
        (void)!ak_fs_remove(fs, path, &ignored);
        return rc;
    }
    spare->file = file;
    spare->bytes = bytes;
    return AK_OK;
}

enum ak_rc ak_wal_spare_make(struct ak_fs *fs, const char *dir, struct wal_spare *spare,
                             uint64_t bytes, struct ak_err *err)
{
    if (!spare->file) {
        return spare_create(fs, dir, spare, bytes, err);
    }
    enum ak_rc rc = ak_file_allocate(spare->file, 0, bytes, err);
    if (rc != AK_OK) {
        struct ak_err ignored; /* what could be reserved goes back to the disk, best effort */
        (void)!ak_file_truncate(spare->file, spare->bytes, &ignored);
        return rc;
    }
    rc = ak_file_sync(spare->file, err);
    if (rc != AK_OK) { /* a file whose sync has failed is never used again */
        char path[WAL_PATH_MAX];
        struct ak_err ignored;
        ak_wal_spare_path(dir, spare->id, path);
        ak_file_close(spare->file);
        (void)!ak_fs_remove(fs, path, &ignored);
        *spare = (struct wal_spare){.id = spare->id};
        return rc;
    }
    spare->bytes = bytes;
    return AK_OK;
}

enum ak_rc ak_wal_segment_activate(struct ak_fs *fs, const char *dir, struct wal_segment *segment,
                                   struct ak_err *err)
{
    unsigned char header[WAL_SEGMENT_HEADER_BYTES] = {0};
    memcpy(header, magic, sizeof magic);
    put_u32(header + 8, WAL_VERSION);
    put_u32(header + 12, WAL_SEGMENT_HEADER_BYTES);
    put_u64(header + 16, segment->start);
    put_u64(header + 24, segment->bytes);
    put_u64(header + 32, segment->salt);
    put_u32(header + SEGMENT_CRC_AT, ak_crc32c(0, header, SEGMENT_CRC_AT));
    char from[WAL_PATH_MAX];
    char to[WAL_PATH_MAX];
    ak_wal_spare_path(dir, segment->spare_id, from);
    ak_wal_segment_path(dir, segment->start, to);
    enum ak_rc rc = ak_file_write(segment->file, 0, header, sizeof header, err);
    if (rc == AK_OK) {
        rc = ak_file_sync(segment->file, err); /* I3: header before name */
    }
    if (rc == AK_OK) {
        rc = ak_fs_rename(fs, from, to, err);
    }
    if (rc == AK_OK) {
        rc = ak_fs_sync_dir(fs, dir, err);
    }
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "begin log segment '%s'", to);
    }
    segment->named = true;
    return AK_OK;
}

enum ak_rc ak_wal_segment_recycle(struct ak_fs *fs, const char *dir,
                                  const struct wal_segment *segment, uint64_t id,
                                  struct wal_spare *spare, struct ak_err *err)
{
    char from[WAL_PATH_MAX];
    char to[WAL_PATH_MAX];
    struct ak_file *file = NULL;
    ak_wal_segment_path(dir, segment->start, from);
    ak_wal_spare_path(dir, id, to);
    enum ak_rc rc = ak_fs_open(fs, from, AK_OPEN_WRITE, &file, err);
    if (rc == AK_OK) {
        rc = ak_fs_rename(fs, from, to, err);
    }
    /* The old name must be gone for good before a new header is written: or a power cut could leave
     * the old name on a file that begins elsewhere. */
    if (rc == AK_OK) {
        rc = ak_fs_sync_dir(fs, dir, err);
    }
    if (rc != AK_OK) {
        ak_file_close(file);
        return ak_wrap(err, rc, "recycle log segment '%s'", from);
    }
    *spare = (struct wal_spare){.file = file, .bytes = segment->bytes, .id = id};
    return AK_OK;
}

enum ak_rc ak_wal_segment_remove(struct ak_fs *fs, const char *dir,
                                 const struct wal_segment *segment, struct ak_err *err)
{
    char path[WAL_PATH_MAX];
    ak_wal_segment_path(dir, segment->start, path);
    enum ak_rc rc = ak_fs_remove(fs, path, err);
    if (rc == AK_NOT_FOUND) { /* gone is what was wanted: a recycle may have failed half-way */
        return AK_OK;
    }
    return rc == AK_OK ? rc : ak_wrap(err, rc, "remove log segment '%s'", path);
}

#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "index/image_priv.h"
#include "support/test.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIND_NEWER 4000u /* a kind that this version does not know */
#define SMALL 300        /* bytes of text: every section has one block at most */
#define BLOCKS 262244    /* two blocks */
#define WRITES 3000000   /* three writes of the buffer */

static struct ak_err err;

static const char *path_in_dir(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", ak_test_dir(), name);
    return path;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Bytes that depend on place and seed. */
static char *pattern(size_t len, unsigned seed)
{
    char *p = ak_alloc(len);
    for (size_t i = 0; i < len; i++) {
        p[i] = (char)(i * 31 + seed + (i >> 8) * (seed & 1));
    }
    return p;
}

static enum ak_rc put_pattern(struct ak_image_writer *writer, uint32_t kind, uint64_t stride,
                              uint64_t rows, unsigned seed)
{
    char *p = pattern((size_t)(stride * rows), seed);
    enum ak_rc rc = ak_image_put(writer, kind, stride, rows, p, &err);
    ak_free(p);
    return rc;
}

/* The sections of every test below: small, empty, unknown, and `text` bytes of text. */
static enum ak_rc write_sections(struct ak_image_writer *writer, unsigned seed, size_t text)
{
    enum ak_rc rc = put_pattern(writer, AK_IMAGE_INDEX_STATE, 40, 1, seed);
    rc = rc == AK_OK ? put_pattern(writer, AK_IMAGE_VECTORS, 64, 9, seed + 1) : rc;
    rc = rc == AK_OK ? ak_image_put(writer, AK_IMAGE_LINKS, 128, 0, NULL, &err) : rc;
    rc = rc == AK_OK ? put_pattern(writer, KIND_NEWER, 1, 77, seed + 2) : rc;
    rc = rc == AK_OK ? put_pattern(writer, AK_IMAGE_DOC_TEXT, 1, text, seed) : rc;
    return rc == AK_OK ? put_pattern(writer, AK_IMAGE_LEVELS, 1, 64, seed + 4) : rc;
}

static void check_section(const struct ak_image *image, uint32_t kind, uint64_t stride,
                          uint64_t rows, unsigned seed)
{
    struct ak_image_section section;
    CHECK_OK(ak_image_need(image, kind, stride, rows, &section, &err));
    CHECK_INT(section.len, stride * rows);
    CHECK_INT((uintptr_t)section.p % AK_IMAGE_ALIGN_BLOB, 0);
    char *want = pattern((size_t)section.len, seed);
    bool same = section.len == 0 || memcmp(want, section.p, (size_t)section.len) == 0;
    ak_free(want);
    CHECK(same);
    CHECK_OK(ak_image_check(image, kind, &err));
}

static void check_sections(const struct ak_image *image, unsigned seed, size_t text)
{
    check_section(image, AK_IMAGE_INDEX_STATE, 40, 1, seed);
    check_section(image, AK_IMAGE_VECTORS, 64, 9, seed + 1);
    check_section(image, AK_IMAGE_LINKS, 128, 0, seed);
    check_section(image, KIND_NEWER, 1, 77, seed + 2);
    check_section(image, AK_IMAGE_DOC_TEXT, 1, text, seed);
    check_section(image, AK_IMAGE_LEVELS, 1, 64, seed + 4);
    CHECK_OK(ak_image_check_all(image, &err));
}

static enum ak_rc write_image(struct ak_fs *fs, const char *path, unsigned seed, size_t text)
{
    struct ak_image_writer *writer = NULL;
    enum ak_rc rc = ak_image_create_file(fs, path, &writer, &err);
    if (rc == AK_OK && write_sections(writer, seed, text) != AK_OK) {
        rc = err.rc;
        ak_image_abort(writer);
    } else if (rc == AK_OK) {
        rc = ak_image_commit(writer, NULL, &err);
    }
    return rc;
}

static void check_image_file(const char *path, unsigned seed, size_t text)
{
    struct ak_image *image = NULL;
    CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
    check_sections(image, seed, text);
    ak_image_close(image);
}

static void write_blob(struct ak_buf *out, unsigned seed, size_t text)
{
    struct ak_image_writer *writer = NULL;
    uint64_t bytes = 0;
    size_t before = out->len;
    CHECK_OK(ak_image_create_blob(out, &writer, &err));
    CHECK_OK(write_sections(writer, seed, text));
    CHECK_OK(ak_image_commit(writer, &bytes, &err));
    CHECK_INT(bytes, out->len - before);
}

/* Opens a copy: the image takes over what it is given. */
static enum ak_rc open_copy(struct ak_str bytes, struct ak_image **image)
{
    return ak_image_open_blob(ak_strdup_n(bytes.p, bytes.len), bytes.len, image, &err);
}

static enum ak_rc open_and_check(struct ak_str bytes)
{
    struct ak_image *image = NULL;
    enum ak_rc rc = open_copy(bytes, &image);
    if (rc == AK_OK) {
        rc = ak_image_check_all(image, &err);
        ak_image_close(image);
    }
    return rc;
}

TEST(image, a_file_reads_back_as_written)
{
    const char *path = path_in_dir("a.akx");
    CHECK_OK(write_image(ak_fs_posix(), path, 5, BLOCKS));
    CHECK(!exists(path_in_dir("a.akx.tmp")));
    path = path_in_dir("a.akx");
    check_image_file(path, 5, BLOCKS);
    struct ak_image *image = NULL;
    struct ak_image_section section;
    CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
    CHECK(ak_image_fd(image) >= 0);
    CHECK(ak_image_find(image, AK_IMAGE_VECTORS, &section));
    CHECK_INT(section.file_at % AK_IMAGE_ALIGN_FILE, 0);
    CHECK_INT((uintptr_t)section.p % AK_IMAGE_ALIGN_FILE, 0);
    CHECK(!ak_image_find(image, AK_IMAGE_CODES, &section));
    CHECK_RC(AK_CORRUPT, ak_image_check(image, AK_IMAGE_CODES, &err));
    CHECK_RC(AK_CORRUPT, ak_image_need(image, AK_IMAGE_CODES, 1, 1, &section, &err));
    CHECK_RC(AK_CORRUPT, ak_image_need(image, AK_IMAGE_VECTORS, 64, 8, &section, &err));
    CHECK_RC(AK_CORRUPT, ak_image_need(image, AK_IMAGE_VECTORS, 32, 9, &section, &err));
    char text[1200];
    (void)snprintf(text, sizeof text,
                   "image %s: section 2 (vectors) has 9 rows of 64 bytes, not 9 of 32", path);
    CHECK_STR(err.text, text);
    ak_image_close(image);
    ak_image_close(NULL);
}

TEST(image, a_blob_reads_back_as_written_also_behind_other_bytes)
{
    for (int lead = 0; lead < 3; lead++) {
        struct ak_buf out;
        ak_buf_init(&out, 0);
        ak_buf_add(&out, "xyz", (size_t)lead);
        write_blob(&out, 9, lead == 1 ? BLOCKS : SMALL);
        CHECK(memcmp(out.p, "xyz", (size_t)lead) == 0);
        struct ak_image *image = NULL;
        CHECK_OK(open_copy(ak_str_sub(ak_buf_str(&out), (size_t)lead, out.len), &image));
        check_sections(image, 9, lead == 1 ? BLOCKS : SMALL);
        CHECK_INT(ak_image_fd(image), -1);
        CHECK_INT(ak_image_bytes(image), out.len - (size_t)lead);
        ak_image_close(image);
        ak_buf_release(&out);
    }
}

TEST(image, an_image_without_sections_is_sound)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    struct ak_image_writer *writer = NULL;
    CHECK_OK(ak_image_create_blob(&out, &writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    CHECK_OK(open_and_check(ak_buf_str(&out)));
    ak_buf_release(&out);
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path_in_dir("none.akx"), &writer, &err));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    struct ak_image *image = NULL;
    CHECK_OK(ak_image_open_file(ak_fs_posix(), path_in_dir("none.akx"), &image, &err));
    CHECK_OK(ak_image_check_all(image, &err));
    ak_image_close(image);
}

TEST(image, writes_of_any_size_give_the_same_file)
{
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    size_t len = (size_t)5 << 20 | 12345;
    char *bytes = pattern(len, 1);
    const char *path = path_in_dir("big.akx");
    struct ak_image_writer *writer = NULL;
    for (int round = 0; round < 4; round++) {
        CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
        CHECK_OK(put_pattern(writer, AK_IMAGE_LEVELS, 1, (uint64_t)round * 999, 3));
        CHECK_OK(ak_image_begin(writer, AK_IMAGE_VECTORS, 1, len, &err));
        for (size_t done = 0; done < len;) {
            size_t most = round == 0 ? len : (size_t)1 << (round * 7);
            size_t n = ak_rand_below(&rand, most) + 1;
            n = round == 0 || n > len - done ? len - done : n;
            CHECK_OK(ak_image_write(writer, bytes + done, n, &err));
            done += n;
        }
        CHECK_OK(ak_image_end(writer, &err));
        uint64_t size = 0;
        CHECK_OK(ak_image_commit(writer, &size, &err));
        struct ak_image *image = NULL;
        CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
        struct ak_image_section section;
        CHECK_OK(ak_image_need(image, AK_IMAGE_VECTORS, 1, len, &section, &err));
        CHECK(memcmp(section.p, bytes, len) == 0);
        CHECK_OK(ak_image_check_all(image, &err));
        CHECK_INT(ak_image_bytes(image), size);
        ak_image_close(image);
    }
    ak_free(bytes);
}

TEST(image, a_section_with_too_few_or_too_many_bytes_cannot_be_committed)
{
    const char *path = path_in_dir("odd.akx");
    for (int more = 0; more < 2; more++) {
        struct ak_image_writer *writer = NULL;
        CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
        CHECK_OK(ak_image_begin(writer, AK_IMAGE_LEVELS, 2, 3, &err));
        CHECK_OK(ak_image_write(writer, "12345", 5, &err));
        CHECK_RC(AK_INTERNAL,
                 more ? ak_image_write(writer, "67", 2, &err) : ak_image_end(writer, &err));
        CHECK_RC(AK_INTERNAL, ak_image_put(writer, AK_IMAGE_LINKS, 1, 1, "x", &err));
        CHECK_RC(AK_INTERNAL, ak_image_commit(writer, NULL, &err));
        CHECK(!exists(path_in_dir("odd.akx")) && !exists(path_in_dir("odd.akx.tmp")));
    }
    struct ak_image_writer *writer = NULL;
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path_in_dir("odd.akx"), &writer, &err));
    CHECK_RC(AK_TOO_BIG, ak_image_begin(writer, AK_IMAGE_LEVELS, 1 << 20, UINT64_MAX >> 10, &err));
    ak_image_abort(writer);
    ak_image_abort(NULL);
    CHECK(!exists(path_in_dir("odd.akx.tmp")));
}

TEST(image, every_flipped_bit_is_found)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    write_blob(&out, 3, SMALL);
    CHECK_OK(open_and_check(ak_buf_str(&out)));
    for (size_t i = 0; i < out.len * 8; i++) {
        out.p[i / 8] = (char)(out.p[i / 8] ^ (1 << i % 8));
        CHECK_RC(AK_CORRUPT, open_and_check(ak_buf_str(&out)));
        out.p[i / 8] = (char)(out.p[i / 8] ^ (1 << i % 8));
    }
    ak_buf_release(&out);
}

TEST(image, a_flipped_byte_in_a_file_is_found_and_its_section_named)
{
    CHECK_OK(write_image(ak_fs_posix(), path_in_dir("flip.akx"), 3, BLOCKS));
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path_in_dir("flip.akx"), 1 << 20, &bytes, &err));
    for (size_t i = 0; i < bytes.len; i += 977) {
        bytes.p[i] = (char)~bytes.p[i];
        CHECK_RC(AK_CORRUPT, open_and_check(ak_buf_str(&bytes)));
        bytes.p[i] = (char)~bytes.p[i];
    }
    struct ak_image *image = NULL;
    bytes.p[4 * 4096 + 262150] ^= 1; /* in the texts' second block */
    CHECK_OK(open_copy(ak_buf_str(&bytes), &image));
    CHECK_OK(ak_image_check(image, AK_IMAGE_VECTORS, &err));
    CHECK_RC(AK_CORRUPT, ak_image_check(image, AK_IMAGE_DOC_TEXT, &err));
    CHECK_STR(err.text, "image in memory: at byte 278528: section 68 (texts): the checksum of a "
                        "block that begins here does not match");
    ak_image_close(image);
    ak_buf_release(&bytes);
}

TEST(image, a_truncation_at_any_byte_and_an_appended_byte_are_found)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    write_blob(&out, 3, SMALL);
    for (size_t len = 0; len < out.len; len++) {
        CHECK_RC(AK_CORRUPT, open_and_check((struct ak_str){out.p, len}));
        struct ak_str head = {out.p, len};
        if (len % 50 == 0) {
            struct ak_image *image = NULL;
            CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path_in_dir("cut.akx"), head, &err));
            CHECK_RC(AK_CORRUPT,
                     ak_image_open_file(ak_fs_posix(), path_in_dir("cut.akx"), &image, &err));
        }
    }
    ak_buf_add_char(&out, '\0');
    CHECK_RC(AK_CORRUPT, open_and_check(ak_buf_str(&out)));
    ak_buf_release(&out);
    struct ak_image *image = NULL;
    CHECK_RC(AK_NOT_FOUND,
             ak_image_open_file(ak_fs_posix(), path_in_dir("absent.akx"), &image, &err));
}

/* Make every checksum right again after a change, so that the field checks are what is tested. */
static void seal(struct ak_buf *bytes)
{
    struct ak_image_header header;
    memcpy(&header, bytes->p, sizeof header);
    if (header.toc_at <= bytes->len && header.toc_len <= bytes->len - header.toc_at) {
        header.toc_crc = ak_crc32c(0, bytes->p + header.toc_at, (size_t)header.toc_len);
    }
    header.crc = ak_crc32c(0, &header, offsetof(struct ak_image_header, crc));
    memcpy(bytes->p, &header, sizeof header);
}

TEST(image, a_table_that_leads_astray_is_refused_even_under_right_checksums)
{
    struct ak_buf good;
    ak_buf_init(&good, 0);
    write_blob(&good, 3, SMALL);
    struct ak_image_header header;
    memcpy(&header, good.p, sizeof header);
#define IN_HEADER(field) offsetof(struct ak_image_header, field), sizeof header.field
#define IN_ENTRY(i, field)                                                                         \
    (size_t) header.toc_at + (i) * sizeof(struct ak_image_entry) +                                 \
        offsetof(struct ak_image_entry, field),                                                    \
        sizeof((struct ak_image_entry *)0)->field
    const struct {
        size_t at;
        size_t size;
        uint64_t value;
    } forgeries[] = {
        {IN_HEADER(align_shift), 0},
        {IN_HEADER(align_shift), 5},
        {IN_HEADER(align_shift), 8},
        {IN_HEADER(align_shift), 63},
        {IN_HEADER(align_shift), 64},
        {IN_HEADER(file_len), 0},
        {IN_HEADER(file_len), UINT64_MAX},
        {IN_HEADER(toc_at), 0},
        {IN_HEADER(toc_at), 64},
        {IN_HEADER(toc_at), UINT64_MAX - 63},
        {IN_HEADER(toc_len), 0},
        {IN_HEADER(toc_len), UINT64_MAX},
        {IN_HEADER(sections), 0},
        {IN_HEADER(sections), 5},
        {IN_HEADER(sections), 7},
        {IN_HEADER(sections), 4097},
        {IN_HEADER(sections), UINT32_MAX},
        {IN_ENTRY(1, stride), 0},
        {IN_ENTRY(1, stride), 65},
        {IN_ENTRY(1, stride), UINT64_MAX / 2},
        {IN_ENTRY(2, stride), 0},
        {IN_ENTRY(1, rows), UINT64_MAX / 64},
        {IN_ENTRY(1, rows), (UINT64_MAX / 64) + 10},
        {IN_ENTRY(1, at), 0},
        {IN_ENTRY(1, at), 65},
        {IN_ENTRY(1, at), 64},
        {IN_ENTRY(1, at), UINT64_MAX - 63},
        {IN_ENTRY(5, at), header.toc_at},
        {IN_ENTRY(1, len), 575},
        {IN_ENTRY(1, len), UINT64_MAX},
        {IN_ENTRY(1, block_first), 0},
        {IN_ENTRY(1, block_first), UINT32_MAX},
        {IN_ENTRY(1, block_count), 0},
        {IN_ENTRY(1, block_count), 2},
        {IN_ENTRY(1, kind), AK_IMAGE_INDEX_STATE},
    };
#undef IN_HEADER
#undef IN_ENTRY
    for (size_t i = 0; i < sizeof forgeries / sizeof forgeries[0]; i++) {
        struct ak_buf bad;
        ak_buf_init(&bad, 0);
        ak_buf_add_str(&bad, ak_buf_str(&good));
        memcpy(bad.p + forgeries[i].at, &forgeries[i].value, forgeries[i].size);
        seal(&bad);
        struct ak_image *image = NULL;
        enum ak_rc rc = open_copy(ak_buf_str(&bad), &image);
        if (rc != AK_CORRUPT) {
            ak_test_fail(__FILE__, __LINE__, "forgery %zu gave %s", i, ak_rc_name(rc));
        }
        ak_buf_release(&bad);
    }
    uint32_t version = 2;
    memcpy(good.p + offsetof(struct ak_image_header, version), &version, sizeof version);
    seal(&good);
    CHECK_RC(AK_UNSUPPORTED, open_and_check(ak_buf_str(&good)));
    CHECK_STR(err.text, "image in memory: version 2; this AkiDB reads version 1");
    ak_buf_release(&good);
}

TEST(image, a_section_with_unknown_flags_is_skipped_like_an_unknown_kind)
{
    struct ak_buf bytes;
    ak_buf_init(&bytes, 0);
    write_blob(&bytes, 3, SMALL);
    struct ak_image_header header;
    memcpy(&header, bytes.p, sizeof header);
    bytes.p[header.toc_at + sizeof(struct ak_image_entry) + 4] = 1;
    seal(&bytes);
    struct ak_image *image = NULL;
    struct ak_image_section section;
    CHECK_OK(open_copy(ak_buf_str(&bytes), &image));
    CHECK(!ak_image_find(image, AK_IMAGE_VECTORS, &section));
    CHECK(ak_image_find(image, AK_IMAGE_LEVELS, &section));
    CHECK_OK(ak_image_check_all(image, &err));
    ak_image_close(image);
    ak_buf_release(&bytes);
}

/* Pages of the file that are in the system's cache. */
static size_t cached_pages(const char *path, size_t *all)
{
    struct ak_file *file = NULL;
    uint64_t size = 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t there = 0;
    CHECK_OK(ak_fs_open(ak_fs_posix(), path, AK_OPEN_READ, &file, &err));
    CHECK_OK(ak_file_size(file, &size, &err));
    *all = ((size_t)size + page - 1) / page;
    unsigned char *in = ak_zalloc(*all);
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, ak_file_fd(file), 0);
    CHECK(p != MAP_FAILED);
    CHECK_INT(mincore(p, (size_t)size, in), 0);
    for (size_t i = 0; i < *all; i++) {
        there += in[i] & 1;
    }
    (void)munmap(p, (size_t)size);
    ak_free(in);
    ak_file_close(file);
    return there;
}

TEST(image, sections_that_are_brought_come_into_memory_and_are_what_they_were)
{
    const char *path = path_in_dir("brought.akx");
    struct ak_image_writer *writer = NULL;
    struct ak_image *image = NULL;
    size_t all = 0;
    CHECK_OK(ak_image_create_file(ak_fs_posix(), path, &writer, &err));
    CHECK_OK(write_sections(writer, 3, WRITES));
    CHECK_OK(ak_image_commit(writer, NULL, &err));
    struct ak_file *file = NULL;
    CHECK_OK(ak_fs_open(ak_fs_posix(), path, AK_OPEN_READ, &file, &err));
    (void)posix_fadvise(ak_file_fd(file), 0, 0, POSIX_FADV_DONTNEED);
    ak_file_close(file);
    CHECK_OK(ak_image_open_file(ak_fs_posix(), path, &image, &err));
    ak_image_bring(image, AK_IMAGE_CODES); /* there are none */
    ak_image_bring(image, AK_IMAGE_LINKS); /* empty */
    ak_image_bring(image, AK_IMAGE_DOC_TEXT);
    while (cached_pages(path, &all) < WRITES / (size_t)sysconf(_SC_PAGESIZE)) {
        ak_image_bring(image,
                       AK_IMAGE_DOC_TEXT); /* it is advice: a system in need may pass it by */
        (void)usleep(1000);
    }
    CHECK_INT(ak_image_missing(image, AK_IMAGE_CODES, 7), 0);
    check_sections(image, 3, WRITES);
    for (uint64_t seed = 0; seed < 2000; seed += 13) { /* all of it has just been read */
        CHECK(ak_image_missing(image, AK_IMAGE_DOC_TEXT, seed) <= AK_IMAGE_SAMPLES);
        CHECK_INT(ak_image_missing(image, AK_IMAGE_LINKS, seed), 0);
    }
    ak_image_close(image);
}

TEST(image, a_failed_operation_leaves_the_old_file_and_nothing_else)
{
    static const enum ak_fs_op ops[] = {AK_FS_OPEN, AK_FS_WRITE, AK_FS_SYNC, AK_FS_RENAME};
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    struct ak_fs *fs = ak_fs_fault_fs(fault);
    CHECK_OK(write_image(fs, path_in_dir("old.akx"), 1, WRITES));
    int fired = 0;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (int64_t n = 0;; n++) {
            int errnum = n % 2 ? ENOSPC : EIO;
            ak_fs_fault_set(fault, ops[i], n, errnum, false);
            enum ak_rc fresh = write_image(fs, path_in_dir("new.akx"), 2, WRITES);
            if (!ak_fs_fault_fired(fault)) {
                CHECK_INT(fresh, AK_OK);
                CHECK(remove(path_in_dir("new.akx")) == 0);
                break;
            }
            CHECK_INT(fresh, errnum == EIO ? AK_IO : AK_NO_SPACE);
            CHECK(!exists(path_in_dir("new.akx")) && !exists(path_in_dir("new.akx.tmp")));
            ak_fs_fault_set(fault, ops[i], n, errnum, true);
            CHECK(write_image(fs, path_in_dir("old.akx"), 2, WRITES) != AK_OK);
            CHECK(!exists(path_in_dir("old.akx.tmp")));
            check_image_file(path_in_dir("old.akx"), 1, WRITES);
            fired++;
        }
    }
    CHECK(fired >= 7);
    ak_fs_fault_set(fault, AK_FS_SYNC_DIR, 0, EIO, false);
    CHECK_RC(AK_IO, write_image(fs, path_in_dir("old.akx"), 2, WRITES));
    CHECK(!exists(path_in_dir("old.akx.tmp")));
    check_image_file(path_in_dir("old.akx"), 2, WRITES); /* past the rename: the new one, whole */
    ak_fs_fault_close(fault);
}

TEST(image, a_failed_allocation_is_reported_and_leaves_nothing)
{
    int fired = 0;
    for (int64_t n = 0;; n++) {
        ak_fault_alloc_at(n);
        enum ak_rc rc = write_image(ak_fs_posix(), path_in_dir("mem.akx"), 2, BLOCKS);
        if (!ak_fault_alloc_fired()) {
            CHECK_INT(rc, AK_OK);
            break;
        }
        CHECK_INT(rc, AK_NOMEM);
        CHECK(!exists(path_in_dir("mem.akx")) && !exists(path_in_dir("mem.akx.tmp")));
        fired++;
    }
    CHECK(fired >= 3);
    for (int64_t n = 0; n < 100; n++) {
        struct ak_buf out;
        struct ak_image_writer *writer = NULL;
        ak_buf_init(&out, 0);
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_image_create_blob(&out, &writer, &err);
        if (rc == AK_OK && write_sections(writer, 1, SMALL) != AK_OK) {
            rc = err.rc;
            ak_image_abort(writer);
        } else if (rc == AK_OK) {
            rc = ak_image_commit(writer, NULL, &err);
        }
        if (rc == AK_OK) {
            rc = open_and_check(ak_buf_str(&out));
        } else {
            CHECK_INT(out.len, 0);
        }
        bool refused = rc == AK_NOMEM || rc == AK_TOO_BIG; /* a buffer cannot tell which */
        CHECK(ak_fault_alloc_fired() ? refused : rc == AK_OK);
        n = ak_fault_alloc_fired() ? n : 100;
        ak_buf_release(&out);
    }
    ak_fault_alloc_at(-1);
}

TEST(image, a_crash_leaves_the_whole_image_or_none)
{
    static const struct {
        const char *point;
        bool is_there;
    } cases[] = {
        {"image_before_sync", false}, {"image_before_rename", false}, {"image_after_rename", true}};
    for (size_t i = 0; i < 3; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "crash%zu.akx", i);
        pid_t child = fork();
        if (child == 0) {
            (void)setenv("AKIDB_CRASH_AT", cases[i].point, 1);
            _exit(write_image(ak_fs_posix(), path_in_dir(name), 6, BLOCKS) == AK_OK ? 0 : 1);
        }
        int status = 0;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status));
        CHECK_INT(WEXITSTATUS(status), 137);
        CHECK_INT(exists(path_in_dir(name)), cases[i].is_there);
        CHECK_OK(write_image(ak_fs_posix(), path_in_dir(name), 7, BLOCKS));
        check_image_file(path_in_dir(name), 7, BLOCKS);
    }
}

/* Written by the first version and never again: a new version adds a file and a test like this. To
 * make that file, copy what the writer of the day gives. */
TEST(image, the_golden_file_of_version_1_opens_and_is_what_is_written_today)
{
    struct ak_buf golden;
    struct ak_buf today;
    ak_buf_init(&golden, 0);
    ak_buf_init(&today, 0);
    CHECK_OK(write_image(ak_fs_posix(), path_in_dir("today.akx"), 11, BLOCKS));
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path_in_dir("today.akx"), 1 << 20, &today, &err));
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), "tests/golden/akx-v1.akx", 1 << 20, &golden, &err));
    CHECK(ak_str_eq(ak_buf_str(&golden), ak_buf_str(&today)));
    check_image_file("tests/golden/akx-v1.akx", 11, BLOCKS);
    ak_buf_release(&golden);
    ak_buf_release(&today);
}

TEST_MAIN()

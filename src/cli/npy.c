/* npy.c — NumPy's array files.
 *
 *   "\x93NUMPY"  major  minor  header_len (u16 LE in 1.0, u32 LE in 2.0 and 3.0)
 *   header: a Python dictionary in text, padded with spaces to a newline:
 *           {'descr': '<f4', 'fortran_order': False, 'shape': (2000, 384), }
 *   rows, without padding
 *
 * The header is text that someone else wrote: it is bounded, and every number in it is checked
 * against the file's length before it sizes anything. (numpy.lib.format describes the format.)
 */
#include "cli/npy.h"
#include "base/limits.h"
#include "base/mem.h"
#include "simd/simd.h"
#include <inttypes.h>
#include <string.h>

#define HEADER_MAX 65536u
#define CHUNK_ROWS_BYTES ((size_t)1 << 20)

struct header {
    struct ak_str descr;
    bool fortran;
    uint64_t shape[2];
    size_t shape_count;
    bool has_descr, has_fortran, has_shape;
};

static size_t element_size(enum ak_npy_type type)
{
    return type == AK_NPY_F16 ? 2 : 4;
}

static bool skip_to(struct ak_str *in, char c)
{
    *in = ak_str_trim(*in);
    if (in->len == 0 || in->p[0] != c) {
        return false;
    }
    *in = ak_str_sub(*in, 1, in->len);
    return true;
}

static bool read_quoted(struct ak_str *in, struct ak_str *out)
{
    *in = ak_str_trim(*in);
    char quote = in->len > 0 ? in->p[0] : '\0';
    if (quote != '\'' && quote != '"') {
        return false;
    }
    struct ak_str tail;
    if (!ak_str_split(ak_str_sub(*in, 1, in->len), quote, out, &tail)) {
        return false;
    }
    *in = tail;
    return true;
}

/* "(2000, 384)": the first two numbers are kept, all are counted. */
static bool read_shape(struct ak_str *in, struct header *header)
{
    struct ak_str inside;
    struct ak_str tail;
    if (!skip_to(in, '(') || !ak_str_split(*in, ')', &inside, &tail)) {
        return false;
    }
    *in = tail;
    while (ak_str_trim(inside).len > 0) {
        struct ak_str number;
        struct ak_str rest;
        (void)ak_str_split(inside, ',', &number, &rest);
        uint64_t value;
        if (!ak_str_u64(ak_str_trim(number), UINT64_MAX, &value)) {
            return false;
        }
        if (header->shape_count < 2) {
            header->shape[header->shape_count] = value;
        }
        header->shape_count++;
        inside = rest;
    }
    return true;
}

static bool read_header(struct ak_str in, struct header *header)
{
    if (!skip_to(&in, '{')) {
        return false;
    }
    while (!skip_to(&in, '}')) {
        struct ak_str key;
        if (!read_quoted(&in, &key) || !skip_to(&in, ':')) {
            return false;
        }
        in = ak_str_trim(in);
        if (ak_str_eq(key, AK_STR("descr")) && !header->has_descr) {
            header->has_descr = read_quoted(&in, &header->descr);
            if (!header->has_descr) { /* a list: a structured array */
                header->descr = AK_STR("a structure");
                return true;
            }
        } else if (ak_str_eq(key, AK_STR("fortran_order")) && !header->has_fortran) {
            header->fortran = ak_str_has_prefix(in, AK_STR("True"));
            if (!header->fortran && !ak_str_has_prefix(in, AK_STR("False"))) {
                return false;
            }
            in = ak_str_sub(in, header->fortran ? 4 : 5, in.len);
            header->has_fortran = true;
        } else if (ak_str_eq(key, AK_STR("shape")) && !header->has_shape) {
            header->has_shape = read_shape(&in, header);
            if (!header->has_shape) {
                return false;
            }
        } else {
            return false;
        }
        (void)skip_to(&in, ',');
    }
    return header->has_descr && header->has_fortran && header->has_shape;
}

/* What the header means for us, or the sentence that says why it cannot be read. */
static enum ak_rc judge_header(const struct header *header, struct ak_npy *npy, struct ak_err *err)
{
    if (ak_str_eq(header->descr, AK_STR("<f4"))) {
        npy->type = AK_NPY_F32;
    } else if (ak_str_eq(header->descr, AK_STR("<f2"))) {
        npy->type = AK_NPY_F16;
    } else if (ak_str_eq(header->descr, AK_STR("<i4"))) {
        npy->type = AK_NPY_I32;
    } else {
        return ak_fail(err, AK_INVALID,
                       "its elements are '%.*s'; little-endian float32 ('<f4') and float16 "
                       "('<f2') are read: save it with array.astype('<f4')",
                       AK_STR_ARG(ak_str_sub(header->descr, 0, 40)));
    }
    if (header->shape_count != 2) {
        return ak_fail(err, AK_INVALID, "it has %zu dimension%s; a table of one vector a row has 2",
                       header->shape_count, header->shape_count == 1 ? "" : "s");
    }
    if (header->fortran && header->shape[0] > 1 && header->shape[1] > 1) {
        return ak_fail(err, AK_INVALID,
                       "it is in Fortran (column) order: save it with numpy.ascontiguousarray");
    }
    if (header->shape[1] < 1 || header->shape[1] > AK_DIMENSION_MAX) {
        return ak_fail(err, AK_INVALID, "a row has %" PRIu64 " numbers; 1 to %d are allowed",
                       header->shape[1], AK_DIMENSION_MAX);
    }
    npy->rows = header->shape[0];
    npy->dimension = (uint32_t)header->shape[1];
    return AK_OK;
}

static enum ak_rc check_length(struct ak_npy *npy, struct ak_err *err)
{
    uint64_t size;
    enum ak_rc rc = ak_file_size(npy->file, &size, err);
    if (rc != AK_OK) {
        return rc;
    }
    uint64_t row = (uint64_t)npy->dimension * element_size(npy->type);
    uint64_t want;
    if (__builtin_mul_overflow(npy->rows, row, &want) ||
        __builtin_add_overflow(want, npy->data_at, &want) || want != size) {
        return ak_fail(err, AK_INVALID,
                       "it has %" PRIu64 " bytes, which does not fit its shape (%" PRIu64
                       " rows of %u): the file is damaged or not whole",
                       size, npy->rows, npy->dimension);
    }
    return AK_OK;
}

static enum ak_rc read_start(struct ak_npy *npy, struct ak_buf *text, struct ak_err *err)
{
    uint8_t start[12];
    size_t got;
    enum ak_rc rc = ak_file_read(npy->file, 0, start, sizeof start, &got, err);
    if (rc != AK_OK) {
        return rc;
    }
    if (got < sizeof start || memcmp(start, "\x93NUMPY", 6) != 0) {
        return ak_fail(err, AK_INVALID, "it is not a NumPy file (.npy)");
    }
    if (start[6] < 1 || start[6] > 3) {
        return ak_fail(err, AK_INVALID, "its format version is %u; 1 to 3 are read", start[6]);
    }
    uint32_t len = (uint32_t)start[8] | (uint32_t)start[9] << 8;
    uint32_t head = 10;
    if (start[6] > 1) {
        len |= (uint32_t)start[10] << 16 | (uint32_t)start[11] << 24;
        head = 12;
    }
    if (len > HEADER_MAX) {
        return ak_fail(err, AK_INVALID, "its header has %u bytes; at most %u are read", len,
                       HEADER_MAX);
    }
    npy->data_at = (uint64_t)head + len;
    char *p = ak_buf_reserve(text, len);
    if (!p) {
        return ak_buf_check(text, err);
    }
    rc = ak_file_read(npy->file, head, p, len, &got, err);
    if (rc == AK_OK && got < len) {
        rc = ak_fail(err, AK_INVALID, "it ends inside its header: the file is not whole");
    }
    text->len = rc == AK_OK ? len : 0;
    return rc;
}

enum ak_rc ak_npy_open(struct ak_fs *fs, const char *path, struct ak_npy *npy, struct ak_err *err)
{
    struct ak_npy next = {0};
    enum ak_rc rc = ak_fs_open(fs, path, AK_OPEN_READ, &next.file, err);
    if (rc != AK_OK) {
        return rc;
    }
    struct ak_buf text;
    ak_buf_init(&text, HEADER_MAX);
    rc = read_start(&next, &text, err);
    struct header header = {0};
    if (rc == AK_OK && !read_header(ak_buf_str(&text), &header)) {
        rc = ak_fail(err, AK_INVALID, "its header cannot be understood");
    }
    if (rc == AK_OK) {
        rc = judge_header(&header, &next, err);
    }
    if (rc == AK_OK) {
        rc = check_length(&next, err);
    }
    ak_buf_release(&text);
    if (rc != AK_OK) {
        ak_npy_close(&next);
        return ak_wrap(err, rc, "%s", path);
    }
    *npy = next;
    return AK_OK;
}

void ak_npy_close(struct ak_npy *npy)
{
    ak_file_close(npy->file);
    npy->file = NULL;
}

static enum ak_rc read_raw(const struct ak_npy *npy, uint64_t first, uint64_t count, void *out,
                           struct ak_err *err)
{
    AK_ASSERT(first <= npy->rows && count <= npy->rows - first);
    uint64_t row = (uint64_t)npy->dimension * element_size(npy->type);
    return ak_file_read_exact(npy->file, npy->data_at + first * row, out, (size_t)(count * row),
                              err);
}

enum ak_rc ak_npy_read(const struct ak_npy *npy, uint64_t first, uint64_t count, float *out,
                       struct ak_err *err)
{
    if (npy->type == AK_NPY_F32) {
        return read_raw(npy, first, count, out, err);
    }
    if (npy->type != AK_NPY_F16) {
        return ak_fail(err, AK_INVALID, "the file holds integers; vectors are float32 or float16");
    }
    size_t step = CHUNK_ROWS_BYTES / (npy->dimension * sizeof(uint16_t)) + 1;
    uint16_t *halves = ak_try_alloc(step * npy->dimension * sizeof *halves);
    if (!halves) {
        return ak_fail(err, AK_NOMEM, "no memory for %zu rows", step);
    }
    enum ak_rc rc = AK_OK;
    for (uint64_t at = 0; at < count && rc == AK_OK; at += step) {
        size_t n = count - at < step ? (size_t)(count - at) : step;
        rc = read_raw(npy, first + at, n, halves, err);
        if (rc == AK_OK) {
            ak_simd_get()->f16_to_f32(halves, out + at * npy->dimension, n * npy->dimension);
        }
    }
    ak_free(halves);
    return rc;
}

enum ak_rc ak_npy_read_i32(const struct ak_npy *npy, uint64_t first, uint64_t count, int32_t *out,
                           struct ak_err *err)
{
    if (npy->type != AK_NPY_I32) {
        return ak_fail(err, AK_INVALID, "the file holds no 32-bit integers ('<i4')");
    }
    return read_raw(npy, first, count, out, err);
}

enum ak_rc ak_npy_read_all(const struct ak_npy *npy, float **out, struct ak_err *err)
{
    size_t bytes;
    if (ak_mul_overflows((size_t)npy->rows, npy->dimension * sizeof(float), &bytes)) {
        return ak_fail(err, AK_NOMEM, "no memory for %" PRIu64 " rows", npy->rows);
    }
    float *rows = ak_try_alloc_aligned(AK_CACHE_LINE, bytes ? bytes : 1);
    if (!rows) {
        return ak_fail(err, AK_NOMEM, "no memory for %" PRIu64 " rows of %u", npy->rows,
                       npy->dimension);
    }
    enum ak_rc rc = ak_npy_read(npy, 0, npy->rows, rows, err);
    if (rc != AK_OK) {
        ak_free(rows);
        return rc;
    }
    *out = rows;
    return AK_OK;
}

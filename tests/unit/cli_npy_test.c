/* cli_npy_test.c — .npy files: what is read, what is refused and why; documents of an import. */
#include "base/file.h"
#include "base/mem.h"
#include "cli/npy.h"
#include "cli/rows.h"
#include "support/test.h"

static char path[512];

/* A .npy file: version, header text (padded here), data. */
static void write_npy(unsigned version, const char *header, const void *data, size_t len)
{
    struct ak_err err;
    struct ak_buf file;
    char text[512];
    int padded = snprintf(text, sizeof text, "%-117s\n", header);
    ak_buf_init(&file, 0);
    ak_buf_add(&file, "\x93NUMPY", 6);
    ak_buf_add_char(&file, (char)version);
    ak_buf_add_char(&file, 0);
    ak_buf_add_char(&file, (char)(padded & 0xFF));
    ak_buf_add_char(&file, (char)(padded >> 8));
    if (version > 1) {
        ak_buf_add(&file, "\0\0", 2);
    }
    ak_buf_add(&file, text, (size_t)padded);
    ak_buf_add(&file, data, len);
    (void)snprintf(path, sizeof path, "%s/v.npy", ak_test_dir());
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, ak_buf_str(&file), &err));
    ak_buf_release(&file);
}

static void write_text(const char *name, const char *text, char out[512])
{
    struct ak_err err;
    (void)snprintf(out, 512, "%s/%s", ak_test_dir(), name);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), out, ak_str_of(text), &err));
}

static void check_refused(unsigned version, const char *header, size_t len, const char *part)
{
    static const char zeros[256];
    struct ak_err err;
    struct ak_npy npy;
    write_npy(version, header, zeros, len);
    CHECK_RC(AK_INVALID, ak_npy_open(ak_fs_posix(), path, &npy, &err));
    if (!strstr(err.text, part) || !strstr(err.text, "v.npy: ")) {
        CHECK_STR(err.text, part);
    }
}

static const float six[6] = {1, 2.5f, -3, 4, 5e-20f, 6e20f};

static bool same_bytes(const void *a, const void *b, size_t len)
{
    return memcmp(a, b, len) == 0;
}

TEST(cli_npy, float32_rows_come_back_bit_for_bit)
{
    for (unsigned version = 1; version <= 3; version++) {
        struct ak_err err;
        struct ak_npy npy;
        float out[6];
        write_npy(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", six,
                  sizeof six);
        CHECK_OK(ak_npy_open(ak_fs_posix(), path, &npy, &err));
        CHECK_INT(npy.rows, 2);
        CHECK_INT(npy.dimension, 3);
        CHECK_OK(ak_npy_read(&npy, 0, 2, out, &err));
        CHECK(same_bytes(out, six, sizeof six));
        CHECK_OK(ak_npy_read(&npy, 1, 1, out, &err));
        CHECK(same_bytes(out, six + 3, 3 * sizeof(float)));
        float *all;
        CHECK_OK(ak_npy_read_all(&npy, &all, &err));
        CHECK(same_bytes(all, six, sizeof six));
        ak_free(all);
        ak_npy_close(&npy);
        ak_npy_close(&npy);
    }
}

TEST(cli_npy, float16_rows_are_widened_exactly)
{
    struct ak_err err;
    struct ak_npy npy;
    float out[4];
    const uint16_t halves[4] = {0x3C00, 0xC000, 0x0001, 0x7BFF};
    write_npy(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 4), }", halves,
              sizeof halves);
    CHECK_OK(ak_npy_open(ak_fs_posix(), path, &npy, &err));
    CHECK_OK(ak_npy_read(&npy, 0, 1, out, &err));
    CHECK(out[0] == 1.0f && out[1] == -2.0f && out[2] == 0x1p-24f && out[3] == 65504.0f);
    ak_npy_close(&npy);
}

TEST(cli_npy, integers_are_read_as_integers_only)
{
    struct ak_err err;
    struct ak_npy npy;
    const int32_t numbers[2] = {7, -1};
    int32_t out[2];
    float floats[2];
    write_npy(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2), }", numbers,
              sizeof numbers);
    CHECK_OK(ak_npy_open(ak_fs_posix(), path, &npy, &err));
    CHECK_OK(ak_npy_read_i32(&npy, 0, 1, out, &err));
    CHECK(out[0] == 7 && out[1] == -1);
    CHECK_RC(AK_INVALID, ak_npy_read(&npy, 0, 1, floats, &err));
    ak_npy_close(&npy);
}

TEST(cli_npy, a_file_that_cannot_be_read_is_refused_with_its_reason)
{
    check_refused(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", 24, "'>f4'");
    check_refused(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", 48,
                  "array.astype('<f4')");
    check_refused(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8,
                  "a structure");
    check_refused(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, "Fortran");
    check_refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", 24,
                  "it has 1 dimension;");
    check_refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }", 24,
                  "it has 3 dimensions;");
    check_refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 20,
                  "not whole");
    check_refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 28,
                  "not whole");
    check_refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }", 0,
                  "1 to 65535");
    check_refused(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 70000), }", 0,
                  "1 to 65535");
    check_refused(1,
                  "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 3), }",
                  24, "not whole");
    check_refused(1,
                  "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
                  0, "not whole");
    check_refused(4, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, "version");
    check_refused(1, "{'descr': '<f4', 'shape': (2, 3), }", 24, "header");
    check_refused(1, "garbage", 24, "header");
    check_refused(1, "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 3), }", 24, "header");
}

TEST(cli_npy, any_cut_of_a_good_file_is_refused)
{
    struct ak_err err;
    struct ak_buf whole;
    char cut[512];
    ak_buf_init(&whole, 0);
    write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", six, sizeof six);
    CHECK_OK(ak_fs_read_all(ak_fs_posix(), path, 4096, &whole, &err));
    (void)snprintf(cut, sizeof cut, "%s/cut.npy", ak_test_dir());
    for (size_t len = 0; len < whole.len; len++) {
        struct ak_npy npy;
        CHECK_OK(
            ak_fs_write_atomic(ak_fs_posix(), cut, ak_str_sub(ak_buf_str(&whole), 0, len), &err));
        CHECK_RC(AK_INVALID, ak_npy_open(ak_fs_posix(), cut, &npy, &err));
    }
    ak_buf_release(&whole);
}

TEST(cli_npy, a_failing_read_is_reported)
{
    struct ak_err err;
    struct ak_fs_fault *fault = ak_fs_fault_open(ak_fs_posix());
    write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", six, sizeof six);
    for (int64_t nth = 0;; nth++) {
        struct ak_npy npy;
        float out[6];
        ak_fs_fault_set(fault, AK_FS_OPEN | AK_FS_READ, nth, 5, false);
        enum ak_rc rc = ak_npy_open(ak_fs_fault_fs(fault), path, &npy, &err);
        if (rc == AK_OK) {
            rc = ak_npy_read(&npy, 0, 2, out, &err);
            ak_npy_close(&npy);
        }
        if (!ak_fs_fault_fired(fault)) {
            CHECK_INT(rc, AK_OK);
            CHECK(nth >= 3);
            break;
        }
        CHECK_INT(rc, AK_IO);
    }
    ak_fs_fault_close(fault);
}

/* --- Documents --- */

static const char two_lines[] =
    "{\"external_id\":\"a\",\"vector\":[1,2],\"metadata\":{\"n\": 1}}\n\n"
    "{\"id\":\"01890000-0000-7000-8000-000000000001\",\"vector\":[3,4],\"metadata\":null}";

TEST(cli_rows, ndjson_gives_its_documents_and_ids_that_stay_the_same)
{
    struct ak_err err;
    char file[512];
    struct ak_rows *rows;
    struct ak_row row;
    bool end;
    uint32_t dimension;
    write_text("two.ndjson", two_lines, file);
    const struct ak_rows_options options = {.path = file, .want_floats = true};
    CHECK_OK(ak_rows_open(&options, &rows, &err));
    CHECK_OK(ak_rows_dimension(rows, &dimension, &err));
    CHECK_INT(dimension, 2);
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(!end && row.vector[0] == 1 && row.vector[1] == 2);
    CHECK(ak_str_eq(row.external_id, AK_STR("a")));
    CHECK(ak_str_eq(row.metadata, AK_STR("{\"n\": 1}")));
    struct ak_uuid id = ak_rows_id_of(AK_STR("a"));
    CHECK(ak_uuid_eq(&row.id, &id));
    CHECK_INT(id.b[6] >> 4, 8);
    CHECK_INT(id.b[8] >> 6, 2);
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(!end && row.vector[1] == 4 && row.metadata.len == 0 && row.external_id.len == 0);
    CHECK_INT(row.id.b[15], 1);
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(end);
    CHECK_INT(ak_rows_number(rows), 2);
    ak_rows_close(rows);
}

TEST(cli_rows, without_floats_the_vector_is_its_text)
{
    struct ak_err err;
    char file[512];
    struct ak_rows *rows;
    struct ak_row row;
    bool end;
    write_text("two.ndjson", two_lines, file);
    const struct ak_rows_options options = {.path = file};
    CHECK_OK(ak_rows_open(&options, &rows, &err));
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(ak_str_eq(row.vector_text, AK_STR("[1,2]")) && !row.vector);
    ak_rows_close(rows);
}

static void check_line_fails(const char *text, const char *part)
{
    struct ak_err err = {0};
    char file[512];
    struct ak_rows *rows;
    struct ak_row row;
    bool end = false;
    uint32_t dimension;
    write_text("bad.ndjson", text, file);
    const struct ak_rows_options options = {.path = file, .want_floats = true};
    CHECK_OK(ak_rows_open(&options, &rows, &err));
    enum ak_rc rc = ak_rows_dimension(rows, &dimension, &err);
    while (rc == AK_OK && !end) {
        rc = ak_rows_next(rows, &row, &end, &err);
    }
    ak_rows_close(rows);
    CHECK_INT(rc, AK_INVALID);
    if (!strstr(err.text, part)) {
        CHECK_STR(err.text, part);
    }
}

TEST(cli_rows, a_bad_line_is_named)
{
    check_line_fails("", "holds no document");
    check_line_fails("{}\n", "bad.ndjson:1: a document like");
    check_line_fails("nonsense\n", "bad.ndjson:1: ");
    check_line_fails("{\"vector\":[1,2]}\n{\"vector\":[1]}\n", "bad.ndjson:2: ");
    check_line_fails("{\"vector\":[1,2]}\n{\"vector\":[1,2,3]}\n", "bad.ndjson:2: ");
    check_line_fails("{\"vector\":[1,2]}\n{\"metadata\":{}}\n", "the document has no 'vector'");
    check_line_fails("{\"vector\":[1,2]}\n\n{\"vector\":[1,1e99]}\n", "bad.ndjson:3: ");
    check_line_fails("{\"vector\":[1,2],\"id\":\"x\"}\n", "'id' is no UUID");
    check_line_fails("{\"vector\":[1,2],\"meta\":{}}\n", "meta");
    check_line_fails("{\"vector\":[1,2],\"metadata\":[]}\n", "expected an object");
}

TEST(cli_rows, npy_rows_go_with_their_documents)
{
    struct ak_err err;
    char docs[512];
    struct ak_rows *rows;
    struct ak_row row;
    bool end;
    write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", six, sizeof six);
    write_text("docs.ndjson", "{\"external_id\":\"a\"}\n{\"metadata\":{\"x\":1}}\n", docs);
    const struct ak_rows_options options = {.path = path, .documents = docs};
    CHECK_OK(ak_rows_open(&options, &rows, &err));
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(!end && row.vector[2] == -3 && ak_str_eq(row.external_id, AK_STR("a")));
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(!end && row.vector[0] == 4 && ak_str_eq(row.metadata, AK_STR("{\"x\":1}")));
    CHECK_OK(ak_rows_next(rows, &row, &end, &err));
    CHECK(end);
    ak_rows_close(rows);
    write_text("docs.ndjson", "{\"external_id\":\"a\"}\n", docs);
    CHECK_RC(AK_INVALID, ak_rows_open(&options, &rows, &err));
    CHECK(strstr(err.text, "they must be as many") != NULL);
    write_text("docs.ndjson", "{\"vector\":[1]}\n{}\n", docs);
    CHECK_OK(ak_rows_open(&options, &rows, &err));
    CHECK_RC(AK_INVALID, ak_rows_next(rows, &row, &end, &err));
    CHECK(strstr(err.text, "the vectors come from") != NULL);
    ak_rows_close(rows);
}

TEST_MAIN()

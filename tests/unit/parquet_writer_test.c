/* parquet_writer_test.c — the writer by itself: bytes known by hand, misuse, failures of every
 * kind. What readers make of its files is in parquet_roundtrip_test.c and tests/integration. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/rand.h"
#include "parquet/quantise.h"
#include "parquet/values_write.h"
#include "parquet/writer.h"
#include "support/test.h"
#include <math.h>
#include <string.h>

static struct ak_err err;

static void check_bytes(const struct ak_buf *buf, const char *want, size_t len)
{
    CHECK_INT(buf->len, len);
    CHECK(memcmp(buf->p, want, len) == 0);
}
#define CHECK_BYTES(buf, literal) check_bytes(buf, literal, sizeof(literal) - 1)

TEST(values, runs_and_literals_are_the_bytes_of_the_specification)
{
    struct ak_buf buf;
    const uint32_t eight[] = {0, 1, 2, 3, 4, 5, 6, 7}; /* the example of Encodings.md */
    uint32_t mixed[30];
    ak_buf_init(&buf, 0);
    ak_parquet_put_hybrid(&buf, eight, 8, 3);
    CHECK_BYTES(&buf, "\x03\x88\xC6\xFA");
    ak_buf_clear(&buf);
    for (int i = 0; i < 30; i++) {
        mixed[i] = i < 3 ? 1 : 0;
    }
    ak_parquet_put_hybrid(&buf, mixed, 30, 1); /* 3 ones and 5 zeros fill a group, 22 zeros run */
    CHECK_BYTES(&buf, "\x03\x07\x2C\x00");
    ak_buf_clear(&buf);
    ak_parquet_put_run(&buf, 300, 0x1234, 16);
    CHECK_BYTES(&buf, "\xD8\x04\x34\x12");
    ak_buf_clear(&buf);
    ak_parquet_put_list_levels(&buf, 2, 65);
    CHECK_BYTES(&buf, "\x02\x00\x80\x01\x01\x02\x00\x80\x01\x01");
    ak_buf_release(&buf);
}

TEST(values, deltas_are_the_bytes_of_the_specification)
{
    struct ak_buf buf;
    const int32_t rising[] = {1, 2, 3, 4, 5};
    const int64_t ends[] = {INT64_MIN, INT64_MAX, INT64_MIN};
    ak_buf_init(&buf, 0);
    ak_parquet_put_delta32(&buf, rising, 5); /* all deltas are 1: no bits at all */
    CHECK_BYTES(&buf, "\x80\x01\x04\x05\x02\x02\x00\x00\x00\x00");
    ak_buf_clear(&buf);
    ak_parquet_put_delta32(&buf, rising, 0);
    CHECK_BYTES(&buf, "\x80\x01\x04\x00\x00");
    ak_buf_clear(&buf);
    ak_parquet_put_delta64(&buf, ends, 3); /* wraps: deltas −1 and 1 */
    CHECK(!buf.failed && buf.len > 10);
    ak_buf_release(&buf);
}

TEST(values, bytes_are_split_into_streams_alike_for_every_length)
{
    enum { MOST = 200 };
    uint8_t in[MOST * 8];
    uint8_t out[MOST * 8 + 1];
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    for (size_t i = 0; i < sizeof in; i++) {
        in[i] = (uint8_t)ak_rand_u64(&rand);
    }
    for (size_t width = 4; width <= 8; width += 4) {
        for (size_t count = 0; count <= MOST; count++) {
            out[count * width] = 0x5a;
            ak_parquet_split(in, count, width, out, count);
            CHECK(out[count * width] == 0x5a);
            for (size_t i = 0; i < count; i++) {
                for (size_t b = 0; b < width; b++) {
                    CHECK(out[b * count + i] == in[i * width + b]);
                }
            }
        }
    }
}

TEST(quantise, bfloat16_is_the_nearest_and_its_error_is_told)
{
    const float in[] = {1.0f, 1.00390625f, 1.01171875f, -3.1415927f,
                        0.0f, -0.0f,       INFINITY,    3.4e38f};
    const float want[] = {1.0f, 1.0f, 1.015625f, -3.140625f, 0.0f, -0.0f, INFINITY, 0};
    float out[8];
    double error = 0;
    ak_bf16_round(in, out, 6, &error);
    for (int i = 0; i < 6; i++) {
        CHECK(memcmp(&out[i], &want[i], sizeof out[i]) == 0);
    }
    CHECK(error > 0.0038 && error < 0.0040);
    ak_bf16_round(in + 6, out, 2, &error);
    CHECK(isinf(out[0]) && isfinite(out[1]));
}

/* Rounds in[0..n) by a book of its own and holds each float against every value of the book. */
static double check_book(const float *in, size_t n, float *out)
{
    static struct ak_codebook_range range;
    struct ak_codebook book;
    double error = 0;
    double most = 0;
    range = (struct ak_codebook_range){0};
    ak_codebook_look(&range, in, n);
    ak_codebook_make(&range, &book);
    ak_codebook_round(&book, in, out, n, &error);
    for (size_t i = 0; i < n; i++) {
        double best = (double)INFINITY;
        for (int v = 0; v < 256; v++) {
            best = fmin(best, fabs((double)book.values[v] - (double)in[i]));
            CHECK(v == 0 || book.values[v] >= book.values[v - 1]);
        }
        double moved = fabs((double)out[i] - (double)in[i]);
        CHECK(moved <= best * 1.001 + 1e-12); /* middles are rounded to floats */
        most = fmax(most, moved);
    }
    CHECK(error >= most && error <= most);
    return error;
}

enum { FLOATS = 20000 };

static double mean_error(const float *in, const float *out)
{
    double sum = 0;
    for (int i = 1; i < FLOATS; i++) {
        sum += fabs((double)out[i] - (double)in[i]);
    }
    return sum / FLOATS;
}

TEST(quantise, a_codebook_moves_no_float_far_and_most_of_them_hardly)
{
    static float in[FLOATS];
    static float out[FLOATS];
    struct ak_rand rand;
    ak_rand_seed(&rand, 3);
    for (int i = 0; i < FLOATS; i++) {
        in[i] = (float)ak_rand_normal(&rand);
    }
    CHECK(check_book(in, FLOATS, out) < 8.0 / 255);
    CHECK(mean_error(in, out) < 0.009);
    in[0] = 100.0f; /* equal steps would be 0.4 wide, and a mean error of 0.1 */
    CHECK(check_book(in, FLOATS, out) < 104.0 / 255);
    CHECK(out[0] >= 100.0f && out[0] <= 100.0f);
    CHECK(mean_error(in, out) < 0.02);
    for (int i = 0; i < FLOATS; i++) { /* evenly spread: as equal steps */
        in[i] = (float)ak_rand_unit(&rand) * 2 - 1;
    }
    CHECK(check_book(in, FLOATS, out) < 1.5 / 255);
}

TEST(quantise, a_codebook_of_odd_floats_holds)
{
    float out[8];
    const float same[3] = {0.5f, 0.5f, 0.5f};
    CHECK(check_book(same, 3, out) <= 0.0);
    const float zeros[2] = {0.0f, -0.0f};
    CHECK(check_book(zeros, 2, out) <= 0.0);
    const float far[5] = {-3e38f, 3e38f, 1e-45f, 0.0f, 1.0f};
    CHECK(check_book(far, 5, out) < 6e38 / 255);
    CHECK(out[0] <= -3e38f && out[1] >= 3e38f);
    const float tiny[3] = {1e-45f, 3e-45f, 0.0f};
    CHECK(check_book(tiny, 3, out) < 2e-45);
    const float odd[4] = {NAN, INFINITY, 1.0f, 2.0f};
    static struct ak_codebook_range range;
    struct ak_codebook book;
    double error = 0;
    ak_codebook_look(&range, odd, 4);
    ak_codebook_make(&range, &book);
    CHECK_INT(range.count, 2);
    ak_codebook_round(&book, odd, out, 4, &error);
    CHECK(out[2] <= 1.0f && out[3] >= 2.0f && isfinite(out[0]) && isfinite(out[1]));
    range = (struct ak_codebook_range){0}; /* nothing looked at: nothing to go by, and no harm */
    ak_codebook_make(&range, &book);
    CHECK(book.values[0] <= 0.0f && book.values[255] >= 0.0f);
}

/* --- Files into memory --- */

struct memory {
    struct ak_buf bytes;
    int fails_at; /* the n-th write fails; < 0: none */
};

static enum ak_rc to_memory(void *ctx, const void *p, size_t len, struct ak_err *e)
{
    struct memory *memory = ctx;
    if (memory->fails_at >= 0 && memory->fails_at-- == 0) {
        return ak_fail(e, AK_NO_SPACE, "the sink is full");
    }
    ak_buf_add(&memory->bytes, p, len);
    return AK_OK;
}

enum { ROWS = 300, DIMENSION = 24 };
static float vectors[ROWS][DIMENSION];
static struct ak_str texts[ROWS];
static uint8_t valid[ROWS];

static const void *vector_of(void *ctx, uint64_t row)
{
    (void)ctx;
    return vectors[row];
}

static const struct ak_parquet_column columns[] = {
    {.name = "text",
     .type = AK_PARQUET_BYTE_ARRAY,
     .meaning = {.annotation = AK_PARQUET_STRING},
     .is_optional = true,
     .has_dictionary = true},
    {.name = "vector",
     .type = AK_PARQUET_FLOAT,
     .is_list = true,
     .dimension = DIMENSION,
     .encoding = AK_PARQUET_BYTE_STREAM_SPLIT},
    {.name = "delta",
     .type = AK_PARQUET_BYTE_ARRAY,
     .encoding = AK_PARQUET_DELTA_BYTE_ARRAY,
     .is_optional = true},
};

static void fill(void)
{
    static const char *const words[] = {"alpha", "beta", "gamma"};
    for (int i = 0; i < ROWS; i++) {
        texts[i] = ak_str_of(words[i % 3]);
        valid[i] = i % 4 != 0;
        for (int j = 0; j < DIMENSION; j++) {
            vectors[i][j] = (float)(i * j) * 0.01f;
        }
    }
}

static enum ak_rc write_file(struct memory *memory, struct ak_pool *pool)
{
    const struct ak_parquet_sink sink = {memory, to_memory};
    const struct ak_parquet_write_options options = {
        .codec = AK_CODEC_ZSTD, .page_bytes = 4000, .pool = pool};
    const struct ak_parquet_values text = {.bytes = texts, .valid = valid};
    const struct ak_parquet_values list = {.row = vector_of};
    struct ak_parquet_writer *writer = NULL;
    enum ak_rc rc = ak_parquet_create(&sink, columns, 3, &options, &writer, &err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_parquet_add_metadata(writer, AK_STR("key"), AK_STR("value"), &err);
    for (int group = 0; group < 2 && rc == AK_OK; group++) {
        (void)((rc = ak_parquet_begin_group(writer, ROWS, &err)) ||
               (rc = ak_parquet_put(writer, &text, &err)) ||
               (rc = ak_parquet_put(writer, &list, &err)) ||
               (rc = ak_parquet_put(writer, &text, &err)) ||
               (rc = ak_parquet_end_group(writer, &err)));
    }
    if (rc != AK_OK) {
        ak_parquet_abandon(writer);
        return rc;
    }
    return ak_parquet_finish(writer, NULL, &err);
}

TEST(writer, threads_change_no_byte)
{
    struct memory alone = {.fails_at = -1};
    struct memory many = {.fails_at = -1};
    const struct ak_pool_options options = {.name = "pages", .threads = 3};
    struct ak_pool *pool = NULL;
    fill();
    CHECK_OK(ak_pool_open(&options, &pool, &err));
    CHECK_OK(write_file(&alone, NULL));
    for (int i = 0; i < 20; i++) {
        ak_buf_clear(&many.bytes);
        CHECK_OK(write_file(&many, pool));
        CHECK_INT(many.bytes.len, alone.bytes.len);
        CHECK(memcmp(many.bytes.p, alone.bytes.p, alone.bytes.len) == 0);
    }
    ak_pool_close(pool);
    ak_buf_release(&alone.bytes);
    ak_buf_release(&many.bytes);
}

TEST(writer, a_sink_that_fails_at_any_write_ends_the_file_with_its_error)
{
    const struct ak_pool_options options = {.name = "pages", .threads = 2};
    struct ak_pool *pool = NULL;
    enum ak_rc rc = AK_NO_SPACE;
    fill();
    CHECK_OK(ak_pool_open(&options, &pool, &err));
    for (int n = 0; rc != AK_OK; n++) {
        struct memory memory = {.fails_at = n};
        rc = write_file(&memory, n % 2 ? pool : NULL);
        CHECK(rc == AK_OK || (rc == AK_NO_SPACE && strstr(err.text, "the sink is full")));
        ak_buf_release(&memory.bytes);
        CHECK(n < 200);
    }
    ak_pool_close(pool);
}

#ifdef AK_FAULTS
TEST(writer, without_memory_at_any_place_it_fails_and_leaks_nothing)
{
    fill();
    for (int n = 0;; n++) {
        struct memory memory = {.fails_at = -1};
        CHECK(ak_buf_reserve(&memory.bytes, 1 << 20) != NULL);
        ak_fault_alloc_at(n);
        enum ak_rc rc = write_file(&memory, NULL);
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        CHECK(fired || rc == AK_OK);
        ak_buf_release(&memory.bytes);
        if (!fired) {
            break;
        }
        CHECK(n < 2000);
    }
}
#endif

static void refused(const struct ak_parquet_column *column, const char *why)
{
    struct memory memory = {.fails_at = -1};
    const struct ak_parquet_sink sink = {&memory, to_memory};
    const struct ak_parquet_write_options options = {0};
    struct ak_parquet_writer *writer = NULL;
    CHECK_RC(AK_INVALID, ak_parquet_create(&sink, column, 1, &options, &writer, &err));
    CHECK(strstr(err.text, why) != NULL);
    CHECK_INT(memory.bytes.len, 0);
}

TEST(writer, columns_that_cannot_be_are_refused_with_the_reason)
{
    refused(&(struct ak_parquet_column){.name = "", .type = AK_PARQUET_INT32}, "needs a name");
    refused(&(struct ak_parquet_column){.name = "\xff", .type = AK_PARQUET_INT32}, "UTF-8");
    refused(&(struct ak_parquet_column){.name = "a", .type = AK_PARQUET_INT96}, "not written");
    refused(&(struct ak_parquet_column){.name = "a",
                                        .type = AK_PARQUET_INT32,
                                        .encoding = AK_PARQUET_BYTE_STREAM_SPLIT},
            "does not go with its type");
    refused(&(struct ak_parquet_column){.name = "a", .type = AK_PARQUET_FLOAT, .is_list = true},
            "a list has a length");
    refused(&(struct ak_parquet_column){.name = "a", .type = AK_PARQUET_FIXED}, "fixed values");
}

TEST(writer, calls_out_of_order_are_refused)
{
    struct memory memory = {.fails_at = -1};
    const struct ak_parquet_sink sink = {&memory, to_memory};
    const struct ak_parquet_write_options options = {0};
    const struct ak_parquet_column column = {.name = "n", .type = AK_PARQUET_INT32};
    const int32_t numbers[2] = {1, 2};
    const struct ak_parquet_values values = {.fixed = numbers};
    const struct ak_parquet_values nulls = {.fixed = numbers, .valid = valid};
    struct ak_parquet_writer *writer = NULL;
    CHECK_OK(ak_parquet_create(&sink, &column, 1, &options, &writer, &err));
    CHECK_RC(AK_INVALID, ak_parquet_put(writer, &values, &err));
    CHECK_RC(AK_INVALID, ak_parquet_end_group(writer, &err));
    CHECK_RC(AK_INVALID, ak_parquet_begin_group(writer, 0, &err));
    CHECK_OK(ak_parquet_begin_group(writer, 2, &err));
    CHECK_RC(AK_INVALID, ak_parquet_begin_group(writer, 2, &err));
    CHECK_RC(AK_INVALID, ak_parquet_end_group(writer, &err));
    CHECK_RC(AK_INVALID, ak_parquet_put(writer, &nulls, &err));
    CHECK_OK(ak_parquet_put(writer, &values, &err));
    CHECK_RC(AK_INVALID, ak_parquet_put(writer, &values, &err));
    CHECK_OK(ak_parquet_end_group(writer, &err));
    struct ak_parquet_summary summary;
    CHECK_INT(ak_parquet_written(writer), memory.bytes.len);
    CHECK_OK(ak_parquet_finish(writer, &summary, &err));
    CHECK_INT(summary.bytes, memory.bytes.len);
    CHECK_INT(summary.rows, 2);
    CHECK(memcmp(memory.bytes.p, "PAR1", 4) == 0);
    CHECK(memcmp(memory.bytes.p + memory.bytes.len - 4, "PAR1", 4) == 0);
    ak_buf_release(&memory.bytes);
}

TEST_MAIN()

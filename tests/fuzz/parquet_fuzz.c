/* fuzz: links parquet */
/* parquet_fuzz.c — a whole Parquet file from anywhere: refused with a code that fits, or read
 * within its bounds.
 *
 * Checksums are ignored at first, so that the bytes behind them are reached; what a cursor gives
 * must be whole rows whose levels are possible and whose strings can be touched.
 */
#include "fuzz.h"
#include "parquet/reader.h"
#include <stdlib.h>
#include <string.h>

static volatile unsigned touched; /* so that reading is not left out */

#define MEMORY ((size_t)4 << 20)

static bool is_refusal(enum ak_rc rc)
{
    return rc == AK_CORRUPT || rc == AK_UNSUPPORTED || rc == AK_TOO_BIG;
}

static unsigned touch(struct ak_str s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s.len; i++) {
        sum += (unsigned char)s.p[i];
    }
    return sum;
}

static void check_batch(const struct ak_parquet_leaf *leaf, const struct ak_parquet_batch *batch)
{
    bool is_string = leaf->type == AK_PARQUET_BYTE_ARRAY || leaf->type == AK_PARQUET_FIXED ||
                     leaf->type == AK_PARQUET_INT96;
    size_t values = 0;
    AK_ASSERT(batch->slot_at[0] == 0 && batch->value_at[0] == 0);
    AK_ASSERT(batch->slot_at[batch->rows] == batch->slots);
    AK_ASSERT(batch->value_at[batch->rows] == batch->values);
    for (size_t i = 0; i < batch->rows; i++) {
        AK_ASSERT(batch->slot_at[i] < batch->slot_at[i + 1]);
        AK_ASSERT(!batch->rep || batch->rep[batch->slot_at[i]] == 0);
    }
    for (size_t i = 0; i < batch->slots; i++) {
        unsigned def = batch->def ? batch->def[i] : 0;
        AK_ASSERT(def <= leaf->max_def && (!batch->rep || batch->rep[i] <= leaf->max_rep));
        values += def == leaf->max_def;
    }
    AK_ASSERT(values == batch->values);
    for (size_t i = 0; is_string && i < values; i++) {
        AK_ASSERT(leaf->fixed_len == 0 || batch->bytes[i].len == leaf->fixed_len);
        touched += touch(batch->bytes[i]);
    }
}

/* Rows [first, first + rows) in steps. */
static void read_rows(const struct ak_parquet_reader *reader, size_t group, size_t leaf,
                      uint64_t first, uint64_t rows, size_t step)
{
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    struct ak_parquet_cursor *cursor = NULL;
    struct ak_parquet_batch batch;
    uint64_t row = first;
    enum ak_rc rc = ak_parquet_cursor_open(reader, group, leaf, first, rows, &cursor, NULL);
    while (rc == AK_OK) {
        rc = ak_parquet_next(cursor, step, &batch, NULL);
        if (rc == AK_OK && batch.rows == 0) {
            AK_ASSERT(row == first + rows);
            break;
        }
        if (rc == AK_OK) {
            AK_ASSERT(batch.first_row == row && (step == 0 || batch.rows <= step));
            check_batch(&about->leaves[leaf], &batch);
            row += batch.rows;
            AK_ASSERT(row <= first + rows);
        }
    }
    AK_ASSERT(rc == AK_OK || is_refusal(rc));
    ak_parquet_cursor_close(cursor);
}

static void read_vectors(const struct ak_parquet_reader *reader, size_t group, size_t leaf)
{
    const uint64_t rows = ak_parquet_describe(reader)->groups[group].rows;
    for (uint32_t dimension = 1; dimension <= 6 && rows < 4096; dimension += 5) {
        uint64_t first = dimension > 1 ? rows / 3 : 0;
        size_t count = (size_t)(rows - first) * dimension;
        float *dst = malloc(count * sizeof *dst + 1);
        AK_ASSERT(dst);
        enum ak_rc rc =
            ak_parquet_read_vectors(reader, group, leaf, first, rows - first, dimension, dst, NULL);
        AK_ASSERT(rc == AK_OK || rc == AK_INVALID || is_refusal(rc));
        free(dst);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct ak_str bytes = {(const char *)data, size};
    const struct ak_parquet_source source = ak_parquet_source_memory(&bytes, "fuzz");
    const struct ak_parquet_read_options options = {.memory_max = MEMORY, .ignore_crc = true};
    struct ak_parquet_reader *reader = NULL;
    struct ak_parquet_report report;
    struct ak_err err = {.rc = AK_OK};
    enum ak_rc rc = ak_parquet_open(&source, &options, &reader, &err);
    if (rc != AK_OK) {
        AK_ASSERT(is_refusal(rc) && err.rc == rc && strncmp(err.text, "fuzz: ", 6) == 0);
        return 0;
    }
    const struct ak_parquet_description *about = ak_parquet_describe(reader);
    for (size_t g = 0; g < about->group_count && g < 3; g++) {
        for (size_t c = 0; c < about->leaf_count && c < 12; c++) {
            uint64_t rows = about->groups[g].rows;
            read_rows(reader, g, c, 0, rows, 0);
            read_rows(reader, g, c, rows / 2, rows - rows / 2, 3);
            if (about->leaves[c].is_list) {
                read_vectors(reader, g, c);
            }
        }
    }
    rc = ak_parquet_verify(reader, &report, &err);
    AK_ASSERT(rc == AK_OK || (is_refusal(rc) && strncmp(err.text, "fuzz: ", 6) == 0));
    ak_parquet_close(reader);
    return 0;
}

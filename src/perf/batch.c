/* batch.c — rows by column, until they are a row group. */
#include "base/hash.h"
#include "base/mem.h"
#include "perf/perf_priv.h"
#include <string.h>

static size_t width_of(enum ak_perf_type type)
{
    static const size_t widths[AK_PERF_TYPE_COUNT] = {
        [AK_PERF_TIMESTAMP] = sizeof(int64_t),  [AK_PERF_VARCHAR] = sizeof(struct ak_str),
        [AK_PERF_DOUBLE] = sizeof(double),      [AK_PERF_BIGINT] = sizeof(int64_t),
        [AK_PERF_BOOLEAN] = sizeof(uint8_t),    [AK_PERF_DATE] = sizeof(int32_t),
        [AK_PERF_JSON] = sizeof(struct ak_str),
    };
    return widths[type];
}

enum ak_rc ak_perf_batch_init(struct ak_perf_batch *batch, const struct ak_perf_table_info *info,
                              size_t cap, struct ak_err *err)
{
    *batch = (struct ak_perf_batch){.info = info, .cap = cap};
    ak_buf_init(&batch->text, AK_PERF_GROUP_TEXT + 1);
    batch->met = ak_try_zalloc(info->column_count * AK_PERF_MET * sizeof *batch->met);
    bool is_done = batch->met && ak_buf_reserve(&batch->text, AK_PERF_GROUP_TEXT) != NULL;
    for (size_t i = 0; i < info->column_count && is_done; i++) {
        const struct ak_perf_column_info *column = &info->columns[i];
        batch->values[i] = ak_try_alloc(cap * width_of(column->type));
        batch->valid[i] = column->is_optional ? ak_try_alloc(cap) : NULL;
        is_done = batch->values[i] && (batch->valid[i] || !column->is_optional);
    }
    if (!is_done) {
        ak_perf_batch_release(batch);
        return ak_fail(err, AK_NOMEM, "a batch of %zu rows", cap);
    }
    return AK_OK;
}

void ak_perf_batch_release(struct ak_perf_batch *batch)
{
    for (size_t i = 0; i < AK_PERF_COLUMNS_MAX; i++) {
        ak_free(batch->values[i]);
        ak_free(batch->valid[i]);
        batch->values[i] = NULL;
        batch->valid[i] = NULL;
    }
    ak_free(batch->met);
    batch->met = NULL;
    ak_buf_release(&batch->text);
    batch->rows = 0;
}

void ak_perf_batch_clear(struct ak_perf_batch *batch)
{
    ak_buf_clear(&batch->text);
    memset(batch->met, 0, batch->info->column_count * AK_PERF_MET * sizeof *batch->met);
    batch->rows = 0;
}

bool ak_perf_batch_is_full(const struct ak_perf_batch *batch, size_t text_bytes)
{
    return batch->rows == batch->cap || text_bytes > AK_PERF_GROUP_TEXT - batch->text.len;
}

void ak_perf_batch_null(struct ak_perf_batch *batch, size_t column)
{
    AK_ASSERT(batch->valid[column]);
    batch->valid[column][batch->rows] = 0;
    if (width_of(batch->info->columns[column].type) == sizeof(struct ak_str)) {
        ((struct ak_str *)batch->values[column])[batch->rows] = AK_STR_NONE;
    }
}

static void set_valid(struct ak_perf_batch *batch, size_t column)
{
    if (batch->valid[column]) {
        batch->valid[column][batch->rows] = 1;
    }
}

/* Of AK_PERF_MET, by length and the first and the last eight bytes. */
static size_t place_of(struct ak_str text)
{
    uint64_t head = 0;
    uint64_t tail = 0;
    if (text.len >= sizeof head) {
        memcpy(&head, text.p, sizeof head);
        memcpy(&tail, text.p + text.len - sizeof tail, sizeof tail);
    } else {
        for (size_t i = 0; i < text.len; i++) {
            head = head << 8 | (unsigned char)text.p[i];
        }
    }
    return ak_mix64(head + tail * 31 + text.len) % AK_PERF_MET;
}

void ak_perf_batch_text(struct ak_perf_batch *batch, size_t column, struct ak_str text)
{
    struct ak_str *met = &batch->met[column * AK_PERF_MET + place_of(text)];
    if (!met->p || !ak_str_eq(*met, text)) {
        size_t from = batch->text.len;
        ak_buf_add_str(&batch->text, text); /* there is room: is_full() was asked */
        *met = (struct ak_str){batch->text.p + from, text.len};
    }
    ((struct ak_str *)batch->values[column])[batch->rows] = *met;
    set_valid(batch, column);
}

void ak_perf_batch_i64(struct ak_perf_batch *batch, size_t column, int64_t value)
{
    ((int64_t *)batch->values[column])[batch->rows] = value;
    set_valid(batch, column);
}

void ak_perf_batch_f64(struct ak_perf_batch *batch, size_t column, double value)
{
    ((double *)batch->values[column])[batch->rows] = value;
    set_valid(batch, column);
}

void ak_perf_batch_bool(struct ak_perf_batch *batch, size_t column, bool value)
{
    ((uint8_t *)batch->values[column])[batch->rows] = value;
    set_valid(batch, column);
}

void ak_perf_batch_end_row(struct ak_perf_batch *batch)
{
    int64_t timestamp = ((const int64_t *)batch->values[0])[batch->rows];
    ((int32_t *)batch->values[batch->info->column_count - 1])[batch->rows] = ak_perf_day(timestamp);
    batch->rows++;
}

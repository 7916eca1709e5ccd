/* row.c — a row of the query log as CSV. The server writes one for each query that it samples, so
 * that nothing here allocates beyond the buffer or formats through stdio. */
#include "base/clock.h"
#include "base/json.h"
#include "perf/csv.h"
#include "perf/perf.h"
#include "perf/values.h"
#include <string.h>

#define DEFUSED_MAX 512
#define EXACT_MAX 9e15 /* thousandths of larger numbers do not fit 64 bits */

void ak_perf_put_query_header(struct ak_buf *out)
{
#define AK_PERF_COLUMN(name, type, text)                                                           \
    ak_buf_add_str(out, AK_PERF_QUERY_##name ? AK_STR("," #name) : AK_STR(#name));
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
    ak_buf_add_char(out, '\n');
}

/* To four digits, and no more than three decimals: what a measurement is worth. Fewer different
 * values are a smaller file, too. */
static void put_decimal(struct ak_buf *out, double value)
{
    static const int64_t steps[] = {1, 10, 100, 1000}; /* thousandths */
    if (!__builtin_isfinite(value)) {
        return;
    }
    if (value < 0 || value > EXACT_MAX / 1000) {
        ak_json_put_double(out, value);
        return;
    }
    int64_t step = steps[(value >= 10) + (value >= 100) + (value >= 1000)];
    uint64_t thousandths = (uint64_t)((int64_t)(value * 1000 / (double)step + 0.5) * step);
    unsigned fraction = (unsigned)(thousandths % 1000);
    ak_json_put_u64(out, thousandths / 1000);
    if (fraction) {
        char text[4] = {'.', (char)('0' + fraction / 100), (char)('0' + fraction / 10 % 10),
                        (char)('0' + fraction % 10)};
        ak_buf_add(out, text, fraction % 10 ? 4 : fraction % 100 ? 3 : 2);
    }
}

static void put_timestamp(struct ak_buf *out, int64_t wall_us)
{
    char text[AK_TIME_TEXT_MAX];
    ak_buf_add_str(out, ak_str_of(ak_time_format(wall_us, text)));
}

/* What a spreadsheet would take for a formula, and what already looks like the remedy, gets a ' in
 * front; the name of a table is at most 255 bytes, and longer texts are not ours. */
static struct ak_str defuse(struct ak_str text, char place[DEFUSED_MAX])
{
    if (!ak_perf_is_formula(text) || text.len >= DEFUSED_MAX) {
        return text;
    }
    place[0] = '\'';
    memcpy(place + 1, text.p, text.len);
    return (struct ak_str){place, text.len + 1};
}

/* A text that is there, if only an empty one, is told from none by its quotes. */
static void put_text(struct ak_buf *out, struct ak_str text)
{
    char place[DEFUSED_MAX];
    ak_csv_put(out, text.p ? defuse(text, place) : AK_STR(""));
}

#define PUT_TIMESTAMP(value) put_timestamp(out, value)
#define PUT_VARCHAR(value) put_text(out, value)
#define PUT_DOUBLE(value) put_decimal(out, value)
#define PUT_BIGINT(value) ak_json_put_i64(out, value)
#define PUT_BOOLEAN(value) ak_buf_add_str(out, (value) ? AK_STR("true") : AK_STR("false"))

void ak_perf_put_query(struct ak_buf *out, const struct ak_perf_query *query)
{
#define AK_PERF_COLUMN(name, type, text)                                                           \
    if (AK_PERF_QUERY_##name) {                                                                    \
        ak_buf_add_char(out, ',');                                                                 \
    }                                                                                              \
    if (query->has & AK_PERF_HAS(name)) {                                                          \
        PUT_##type(query->name);                                                                   \
    }
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
    ak_buf_add_char(out, '\n');
}

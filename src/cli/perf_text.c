/* perf_text.c — days, tables and sizes of `akidb perf`. */
#include "cli/perf_text.h"
#include <string.h>

bool ak_cli_perf_read_day(const char *text, int32_t *day)
{
    bool is_yesterday = strcmp(text, "yesterday") == 0;
    if (is_yesterday || strcmp(text, "today") == 0) {
        *day = ak_perf_day(ak_now_us(ak_clock_system())) - is_yesterday;
        return true;
    }
    return ak_perf_day_parse(ak_str_of(text), day);
}

enum ak_rc ak_cli_perf_read_table(const char *text, enum ak_perf_table *table, struct ak_err *err)
{
    return ak_perf_table_parse(ak_str_of(text), table)
               ? AK_OK
               : ak_fail(err, AK_INVALID,
                         "--table is '%s'; allowed are query_perf, query_perf_weekly, "
                         "index_advisor, optimization_summary",
                         text);
}

enum ak_rc ak_cli_perf_output_folder(const struct ak_buf *input, const char *given,
                                     struct ak_buf *out, struct ak_err *err)
{
    if (given) {
        ak_buf_add_str(out, ak_str_of(given));
    } else {
        ak_buf_add_str(out, ak_buf_str(input));
        ak_buf_add_str(out, AK_STR("/" AK_PERF_PARQUET_FOLDER));
    }
    (void)ak_buf_cstr(out);
    return ak_buf_check(out, err);
}

uint64_t ak_cli_perf_kb(uint64_t bytes)
{
    return bytes > 0 && bytes < 512 ? 1 : (bytes + 512) / 1024;
}

const char *ak_cli_perf_size_text(uint64_t bytes, char text[AK_NUMBER_TEXT_MAX])
{
    double kb = (double)bytes / 1024;
    if (kb < 10 * 1024) {
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%llu KB",
                       (unsigned long long)ak_cli_perf_kb(bytes));
    } else if (kb < 10 * 1024 * 1024) {
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%.1f MB", kb / 1024);
    } else {
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%.1f GB", kb / 1024 / 1024);
    }
    return text;
}

void ak_cli_perf_quote(struct ak_str text, size_t max, char shown[AK_PERF_SHOWN_MAX])
{
    size_t n = 0;
    bool is_utf8 = ak_utf8_is_valid(text);
    max = max < AK_PERF_SHOWN_MAX - 4 ? max : AK_PERF_SHOWN_MAX - 4;
    for (; n < text.len && n < max; n++) {
        unsigned char c = (unsigned char)text.p[n];
        shown[n] = c < 0x20 || c == 0x7F ? ' ' : c >= 0x80 && !is_utf8 ? '?' : text.p[n];
    }
    if (n < text.len) { /* not in the middle of a character */
        while (n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80) {
            n--;
        }
        memcpy(shown + n, "…", strlen("…"));
        n += strlen("…");
    }
    shown[n] = '\0';
}

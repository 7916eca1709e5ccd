/* output.c — tables, numbers and the progress line. */
#include "cli/output.h"
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CELL_MAX 4096
#define WIDTH_UNKNOWN 0
#define DRAW_EVERY_NS 100000000 /* ten times a second */
#define BAR_CELLS 24

/* --- Numbers --- */

const char *ak_text_count(uint64_t n, char text[AK_NUMBER_TEXT_MAX])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    size_t at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            text[at++] = ',';
        }
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

const char *ak_text_bytes(double bytes, char text[AK_NUMBER_TEXT_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%.*f %s", unit == 0 || bytes >= 100 ? 0 : 1, bytes,
                   units[unit]);
    return text;
}

const char *ak_text_seconds(double seconds, char text[AK_NUMBER_TEXT_MAX])
{
    if (seconds < 0.001) {
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%.0f µs", seconds * 1e6);
    } else if (seconds < 1) {
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%.1f ms", seconds * 1e3);
    } else if (seconds < 100) {
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%.2f s", seconds);
    } else {
        uint64_t whole = (uint64_t)seconds;
        (void)snprintf(text, AK_NUMBER_TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s", whole / 60,
                       whole % 60);
    }
    return text;
}

/* --- Tables --- */

/* Columns that a UTF-8 text takes, taking every character for one column wide. */
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        n += ((unsigned char)*p & 0xC0) != 0x80;
    }
    return n;
}

static size_t terminal_width(FILE *out)
{
    struct winsize size;
    int fd = fileno(out);
    if (fd < 0 || !isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) {
        return WIDTH_UNKNOWN;
    }
    return size.ws_col;
}

void ak_table_init(struct ak_table *table, const struct ak_table_column *columns, size_t count)
{
    AK_ASSERT(count <= AK_TABLE_COLUMNS_MAX);
    memset(table, 0, sizeof *table);
    memcpy(table->columns, columns, count * sizeof *columns);
    table->column_count = count;
    ak_buf_init(&table->cells, 0);
}

void ak_table_release(struct ak_table *table)
{
    ak_buf_release(&table->cells);
    table->cell_count = 0;
}

static void put_harmless(struct ak_buf *out, struct ak_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool is_c1 = c == 0xC2 && i + 1 < text.len && (unsigned char)text.p[i + 1] < 0xA0;
        if (is_c1) {
            i++;
        }
        ak_buf_add_char(out, is_c1 || c < 0x20 || c == 0x7F ? ' ' : (char)c);
    }
}

void ak_text_print(FILE *out, struct ak_str text)
{
    struct ak_buf harmless;
    ak_buf_init(&harmless, 0);
    put_harmless(&harmless, text);
    (void)fwrite(harmless.len ? harmless.p : "", 1, harmless.len, out);
    ak_buf_release(&harmless);
}

void ak_table_cell(struct ak_table *table, struct ak_str text)
{
    put_harmless(&table->cells, ak_str_sub(text, 0, CELL_MAX));
    ak_buf_add_char(&table->cells, '\0');
    table->cell_count++;
}

void ak_table_cell_fmt(struct ak_table *table, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ak_table_cell(table, ak_str_of(text));
}

static void print_cell(const char *text, size_t width, const struct ak_table_column *column,
                       bool is_last, FILE *out)
{
    size_t columns = columns_of(text);
    if (columns > width) { /* cut at a character's border, one column left for the mark */
        size_t n = 0;
        const char *p = text;
        while (*p && (n + 1 < width || ((unsigned char)*p & 0xC0) == 0x80)) {
            n += ((unsigned char)*p & 0xC0) != 0x80;
            p++;
        }
        while (((unsigned char)*p & 0xC0) == 0x80) {
            p++;
        }
        (void)fprintf(out, "%.*s…", (int)(p - text), text);
        columns = width;
    } else {
        int pad = (int)(width - columns);
        (void)fprintf(out, "%*s%s", column->right ? pad : 0, "", text);
        columns = column->right ? width : columns;
    }
    if (!is_last) {
        (void)fprintf(out, "%*s", (int)(width - columns) + 2, "");
    }
}

void ak_table_print(const struct ak_table *table, FILE *out)
{
    AK_ASSERT(table->column_count > 0);
    size_t widths[AK_TABLE_COLUMNS_MAX] = {0};
    for (size_t c = 0; c < table->column_count; c++) {
        widths[c] = columns_of(table->columns[c].title);
    }
    const char *cell = table->cells.p;
    for (size_t i = 0; i < table->cell_count && !table->cells.failed; i++) {
        size_t columns = columns_of(cell);
        size_t c = i % table->column_count;
        widths[c] = columns > widths[c] ? columns : widths[c];
        cell += strlen(cell) + 1;
    }
    size_t terminal = terminal_width(out);
    size_t last = table->column_count - 1;
    if (terminal != WIDTH_UNKNOWN && table->columns[last].wide) {
        size_t used = 0;
        for (size_t c = 0; c < last; c++) {
            used += widths[c] + 2;
        }
        size_t left = used + 20 < terminal ? terminal - used : 20;
        widths[last] = widths[last] < left ? widths[last] : left;
    }
    for (size_t c = 0; c < table->column_count; c++) {
        print_cell(table->columns[c].title, widths[c], &table->columns[c], c == last, out);
    }
    (void)fputc('\n', out);
    cell = table->cells.p;
    for (size_t i = 0; i < table->cell_count && !table->cells.failed; i++) {
        size_t c = i % table->column_count;
        print_cell(cell, widths[c], &table->columns[c], c == last, out);
        if (c == last) {
            (void)fputc('\n', out);
        }
        cell += strlen(cell) + 1;
    }
}

/* --- Progress --- */

void ak_progress_init(struct ak_progress *progress, const char *unit, uint64_t total)
{
    *progress = (struct ak_progress){
        .clock = ak_clock_system(),
        .unit = unit,
        .total = total,
        .is_shown = isatty(STDERR_FILENO) == 1,
    };
    progress->began_ns = ak_mono_ns(progress->clock);
    progress->drawn_ns = progress->began_ns;
}

static void draw(struct ak_progress *progress, double share, double seconds)
{
    char done[AK_NUMBER_TEXT_MAX];
    char rate[AK_NUMBER_TEXT_MAX];
    char left[AK_NUMBER_TEXT_MAX];
    double per_second = seconds > 0 ? (double)progress->done / seconds : 0;
    (void)fprintf(stderr, "\r\033[K");
    if (share >= 0) {
        int filled = (int)(share * BAR_CELLS);
        (void)fputc('[', stderr);
        for (int i = 0; i < BAR_CELLS; i++) {
            (void)fputc(i < filled ? '#' : '.', stderr);
        }
        (void)fprintf(stderr, "] %3.0f %%  ", share * 100);
    }
    (void)fprintf(stderr, "%s %s, %s/s", ak_text_count(progress->done, done), progress->unit,
                  ak_text_count((uint64_t)per_second, rate));
    if (share > 0.01) {
        (void)fprintf(stderr, ", %s left", ak_text_seconds(seconds * (1 - share) / share, left));
    }
    (void)fflush(stderr);
    progress->is_drawn = true;
}

void ak_progress_set(struct ak_progress *progress, uint64_t done, double share)
{
    progress->done = done;
    if (!progress->is_shown) {
        return;
    }
    int64_t now = ak_mono_ns(progress->clock);
    if (now - progress->drawn_ns < DRAW_EVERY_NS) {
        return;
    }
    progress->drawn_ns = now;
    if (share < 0 && progress->total > 0) {
        share = (double)done / (double)progress->total;
    }
    draw(progress, share > 1 ? 1 : share, (double)(now - progress->began_ns) / 1e9);
}

void ak_progress_end(struct ak_progress *progress)
{
    if (progress->is_drawn) {
        (void)fprintf(stderr, "\r\033[K");
        (void)fflush(stderr);
        progress->is_drawn = false;
    }
}

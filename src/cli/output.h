/* output.h — what people read on a terminal: tables, numbers, a progress line.
 *
 * Tables go to standard output; the progress line goes to standard error, and only when that is a
 * terminal. Text from outside is printed with its control characters replaced, so that a document
 * cannot drive the reader's terminal.
 *
 * Threads: one at a time. Memory: cells are copied.
 */
#pragma once
#include "base/clock.h"
#include "base/str.h"
#include <stdio.h>

/* --- Numbers --- */

#define AK_NUMBER_TEXT_MAX 32
const char *ak_text_count(uint64_t n, char text[AK_NUMBER_TEXT_MAX]);   /* "1,234,567" */
const char *ak_text_bytes(double bytes, char text[AK_NUMBER_TEXT_MAX]); /* "3.2 MiB" */
const char *ak_text_seconds(double seconds,
                            char text[AK_NUMBER_TEXT_MAX]); /* "1.2 ms", "2 min 5 s" */

/* Text from outside, its control characters replaced. */
void ak_text_print(FILE *out, struct ak_str text);

/* --- Tables --- */

#define AK_TABLE_COLUMNS_MAX 12

struct ak_table_column {
    const char *title;
    bool right; /* numbers stand to the right */
    bool wide;  /* cut to what the terminal leaves; at most one, the last */
};

struct ak_table {
    struct ak_table_column columns[AK_TABLE_COLUMNS_MAX];
    size_t column_count;
    struct ak_buf cells; /* each NUL-terminated, row by row */
    size_t cell_count;
};

void ak_table_init(struct ak_table *table, const struct ak_table_column *columns, size_t count);
void ak_table_release(struct ak_table *table); /* idempotent */
void ak_table_cell(struct ak_table *table, struct ak_str text);
void ak_table_cell_fmt(struct ak_table *table, const char *fmt, ...) AK_PRINTF(2, 3);
void ak_table_print(const struct ak_table *table, FILE *out);

/* --- Progress --- */

struct ak_progress {
    const struct ak_clock *clock;
    const char *unit; /* "documents" */
    uint64_t total;   /* 0: not known */
    uint64_t done;
    int64_t began_ns;
    int64_t drawn_ns;
    bool is_shown;
    bool is_drawn; /* a line stands on the terminal */
};

void ak_progress_init(struct ak_progress *progress, const char *unit, uint64_t total);
/* `share` of 0..1 when the total is known otherwise (bytes read of a file); negative: done/total.
 */
void ak_progress_set(struct ak_progress *progress, uint64_t done, double share);
void ak_progress_end(struct ak_progress *progress); /* wipe the line; idempotent */

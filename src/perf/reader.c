/* reader.c — a query log as typed rows. The header says which column is which; a row that does not
 * fit its columns is given as bad, with the line and the reason, and costs nobody else anything. */
#include "base/mem.h"
#include "perf/csv.h"
#include "perf/perf.h"
#include "perf/values.h"
#include <stdio.h>
#include <string.h>

#define REASON_MAX 160
#define SHOWN_MAX 40 /* bytes of a value in a message */
#define UNKNOWN (-1)
#define NAMES_MAX ((size_t)64 << 10)

struct ak_perf_reader {
    struct ak_file *file;
    struct ak_csv csv;
    struct ak_csv_record record;
    int column_of[AK_CSV_FIELDS_MAX]; /* enum ak_perf_query_column, or UNKNOWN */
    struct ak_perf_day_cache days;
    struct ak_buf unknown;
    struct ak_buf missing;
    uint64_t size;
    struct ak_perf_bad bad;
    char reason[REASON_MAX];
};

static const struct {
    const char *name;
    enum ak_perf_type type;
    size_t offset;
} columns[AK_PERF_QUERY_COLUMN_COUNT] = {
#define AK_PERF_COLUMN(name, type, text)                                                           \
    {#name, AK_PERF_##type, offsetof(struct ak_perf_query, name)},
    AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
#undef AK_PERF_COLUMN
};

static void add_name(struct ak_buf *names, struct ak_str name)
{
    ak_buf_add_str(names, names->len ? AK_STR(", ") : AK_STR(""));
    ak_buf_add_str(names, name);
}

static int find_column(struct ak_str name)
{
    for (int i = 0; i < AK_PERF_QUERY_COLUMN_COUNT; i++) {
        if (ak_str_eq_nocase(name, ak_str_of(columns[i].name))) {
            return i;
        }
    }
    return UNKNOWN;
}

static enum ak_rc read_header(struct ak_perf_reader *reader, struct ak_err *err)
{
    bool end = false;
    bool seen[AK_PERF_QUERY_COLUMN_COUNT] = {false};
    const struct ak_csv_record *record = &reader->record;
    enum ak_rc rc = ak_csv_next(&reader->csv, &reader->record, &end, err);
    if (rc != AK_OK || end) {
        return rc;
    }
    if (record->fault) {
        return ak_fail(err, AK_CORRUPT, "line %llu should name the columns, but %s",
                       (unsigned long long)record->line, record->fault);
    }
    for (size_t i = 0; i < record->count; i++) {
        struct ak_str name = ak_str_trim(record->fields[i].text);
        if (name.len && memchr(name.p, '\r', name.len)) {
            return ak_fail(err, AK_CORRUPT, "its lines end with CR alone; make that LF, or CR LF");
        }
        int column = find_column(name);
        reader->column_of[i] = column;
        if (column == UNKNOWN) {
            add_name(&reader->unknown, name);
        } else if (seen[column]) {
            return ak_fail(err, AK_CORRUPT, "the header names '%s' twice", columns[column].name);
        } else {
            seen[column] = true;
        }
    }
    if (!seen[AK_PERF_QUERY_timestamp]) {
        return ak_fail(err, AK_CORRUPT,
                       "the header has no column 'timestamp'; it begins with '%.*s'",
                       AK_STR_ARG(ak_str_sub(record->raw, 0, SHOWN_MAX)));
    }
    for (int i = 0; i < AK_PERF_QUERY_COLUMN_COUNT; i++) {
        if (!seen[i] && i != AK_PERF_QUERY_cpu_time_ms && i != AK_PERF_QUERY_io_wait_ms) {
            add_name(&reader->missing, ak_str_of(columns[i].name));
        }
    }
    reader->csv.want = record->count;
    rc = ak_buf_check(&reader->unknown, err);
    return rc == AK_OK ? ak_buf_check(&reader->missing, err) : rc;
}

enum ak_rc ak_perf_reader_open(struct ak_fs *fs, const char *path, struct ak_perf_reader **reader,
                               struct ak_err *err)
{
    struct ak_perf_reader *next = ak_zalloc(sizeof *next);
    ak_buf_init(&next->unknown, NAMES_MAX);
    ak_buf_init(&next->missing, NAMES_MAX);
    enum ak_rc rc = ak_perf_check_regular(path, err);
    rc = rc == AK_OK ? ak_fs_open(fs, path, AK_OPEN_READ, &next->file, err) : rc;
    if (rc == AK_OK) {
        rc = ak_file_size(next->file, &next->size, err);
    }
    if (rc == AK_OK) { /* what is appended meanwhile is the next reader's */
        ak_csv_init(&next->csv, next->file, 0, next->size);
        next->csv.is_ended = next->size == 0;
        rc = read_header(next, err);
    }
    if (rc != AK_OK) {
        ak_perf_reader_close(next);
        return rc;
    }
    *reader = next;
    return AK_OK;
}

void ak_perf_reader_close(struct ak_perf_reader *reader)
{
    if (reader) {
        ak_csv_release(&reader->csv);
        ak_buf_release(&reader->unknown);
        ak_buf_release(&reader->missing);
        ak_file_close(reader->file);
        ak_free(reader);
    }
}

static const char *expected(enum ak_perf_type type)
{
    static const char *const texts[AK_PERF_TYPE_COUNT] = {
        [AK_PERF_TIMESTAMP] = "a time like 2025-10-28T00:15:23Z",
        [AK_PERF_VARCHAR] = "valid UTF-8",
        [AK_PERF_DOUBLE] = "a number",
        [AK_PERF_BIGINT] = "a whole number",
        [AK_PERF_BOOLEAN] = "true or false",
    };
    return texts[type];
}

static bool read_value(struct ak_perf_reader *reader, int column, struct ak_str text,
                       struct ak_perf_query *query)
{
    void *at = (char *)query + columns[column].offset;
    switch (columns[column].type) {
    case AK_PERF_TIMESTAMP:
        return ak_perf_read_timestamp(&reader->days, text, at);
    case AK_PERF_DOUBLE:
        return ak_perf_read_double(text, at);
    case AK_PERF_BIGINT:
        return ak_perf_read_bigint(text, at);
    case AK_PERF_BOOLEAN:
        return ak_perf_read_boolean(text, at);
    case AK_PERF_VARCHAR: /* row.c puts a ' before what a spreadsheet would take for a formula */
        if (text.len > 1 && text.p[0] == '\'' && ak_perf_is_formula(ak_str_sub(text, 1, 1))) {
            text = ak_str_sub(text, 1, text.len);
        }
        *(struct ak_str *)at = text;
        return reader->record.is_ascii || ak_utf8_is_valid(text);
    case AK_PERF_DATE:
    case AK_PERF_JSON:
    case AK_PERF_TYPE_COUNT:
        break;
    }
    return false;
}

static void give_bad(struct ak_perf_reader *reader, const char *reason)
{
    reader->bad = (struct ak_perf_bad){reader->record.line, reader->record.raw, reason};
}

static bool read_row(struct ak_perf_reader *reader, struct ak_perf_query *query)
{
    query->has = 0;
    for (size_t i = 0; i < reader->record.count; i++) {
        const struct ak_csv_field *field = &reader->record.fields[i];
        int column = reader->column_of[i];
        bool is_text = column != UNKNOWN && columns[column].type == AK_PERF_VARCHAR;
        if (column == UNKNOWN || (field->text.len == 0 && !(field->is_quoted && is_text))) {
            continue;
        }
        if (!read_value(reader, column, field->text, query)) {
            (void)snprintf(reader->reason, sizeof reader->reason, "%s is '%.*s'; expected %s",
                           columns[column].name, AK_STR_ARG(ak_str_sub(field->text, 0, SHOWN_MAX)),
                           expected(columns[column].type));
            give_bad(reader, reader->reason);
            return false;
        }
        query->has |= 1u << column;
    }
    if (!(query->has & AK_PERF_HAS(timestamp))) {
        give_bad(reader, "it has no timestamp");
        return false;
    }
    return true;
}

enum ak_rc ak_perf_reader_next(struct ak_perf_reader *reader, struct ak_perf_query *query,
                               enum ak_perf_step *step, struct ak_err *err)
{
    bool end = false;
    enum ak_rc rc = ak_csv_next(&reader->csv, &reader->record, &end, err);
    if (rc != AK_OK) {
        return rc;
    }
    *step = AK_PERF_END;
    if (end) {
        return AK_OK;
    }
    if (reader->record.fault) {
        give_bad(reader, reader->record.fault);
        *step = AK_PERF_BAD;
        return AK_OK;
    }
    *step = read_row(reader, query) ? AK_PERF_ROW : AK_PERF_BAD;
    return AK_OK;
}

const struct ak_perf_bad *ak_perf_reader_bad(const struct ak_perf_reader *reader)
{
    return &reader->bad;
}

struct ak_str ak_perf_reader_unknown(const struct ak_perf_reader *reader)
{
    return ak_buf_str(&reader->unknown);
}

struct ak_str ak_perf_reader_missing(const struct ak_perf_reader *reader)
{
    return ak_buf_str(&reader->missing);
}

uint64_t ak_perf_reader_bytes(const struct ak_perf_reader *reader)
{
    return ak_csv_offset(&reader->csv);
}

uint64_t ak_perf_reader_size(const struct ak_perf_reader *reader)
{
    return reader->size;
}

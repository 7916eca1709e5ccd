/* csv.h — RFC 4180, read in order and written a field at a time.
 *
 * Read: fields between commas, records between LF or CRLF; a field that begins with a quote ends at
 * the next single quote, "" in it is one, and it may hold commas and line ends. A BOM is skipped,
 * empty lines are too. The last record may lack its line end. A record that breaks these rules
 * (something behind a closing quote, a quote within a bare field, a NUL, more than
 * AK_CSV_FIELDS_MAX fields or AK_CSV_RECORD_MAX bytes, no closing quote before the end) is given as
 * such, and reading goes on at the next line: one mistake never takes a whole file with it.
 *
 * Threads: a reader belongs to one thread. Memory: AK_CSV_MEMORY_MAX whatever the input is.
 */
#pragma once
#include "base/file.h"
#include "base/str.h"

#define AK_CSV_FIELDS_MAX 64
#define AK_CSV_RECORD_MAX ((size_t)1 << 20) /* bytes of a record */
#define AK_CSV_MEMORY_MAX ((size_t)4 << 20)

struct ak_csv_field {
    struct ak_str text; /* without quotes, "" as " */
    bool is_quoted;     /* an empty field that is quoted is a text, one that is not is null */
};

struct ak_csv_record {
    struct ak_csv_field fields[AK_CSV_FIELDS_MAX];
    size_t count;
    uint64_t line;     /* of its first byte, from 1 */
    uint64_t at;       /* offset of its first byte */
    struct ak_str raw; /* as it stands in the file, without the line end; of a broken one perhaps
                          only the beginning */
    bool is_ascii;     /* of a record without quotes: no byte of it is above 0x7F */
    const char *fault; /* NULL: all is well; else what is wrong, and there are no fields */
};

struct ak_csv {
    struct ak_file *file;
    struct ak_buf in;
    size_t at;          /* next byte in `in` */
    uint64_t in_offset; /* of in.p[0] in the file */
    uint64_t line;      /* of the next byte */
    uint64_t end;       /* stop at this offset of the file */
    size_t want;        /* a record must have so many fields; 0: any number. Set by the caller */
    struct ak_buf unquoted;
    char fault[64]; /* text of the last one that is made up */
    bool is_ended;  /* nothing left in the file */
};

/* Instead of a file: records of a text, which is copied. May be called again for the next one. */
void ak_csv_init_text(struct ak_csv *csv); /* released like any other */
void ak_csv_give(struct ak_csv *csv, struct ak_str text);
/* Borrows the file; reads it from `from` to its end, or to `to` when that is not 0. */
void ak_csv_init(struct ak_csv *csv, struct ak_file *file, uint64_t from, uint64_t to);
void ak_csv_release(struct ak_csv *csv); /* idempotent */
/* *end: there is no further record. The record is valid until the next call. */
AK_MUST enum ak_rc ak_csv_next(struct ak_csv *csv, struct ak_csv_record *record, bool *end,
                               struct ak_err *err);
/* The next line as it is, in record->raw, without its line end; record->fault: it is too long. */
AK_MUST enum ak_rc ak_csv_next_line(struct ak_csv *csv, struct ak_csv_record *record, bool *end,
                                    struct ak_err *err);
uint64_t ak_csv_offset(const struct ak_csv *csv); /* of the next byte in the file */

/* Append a field, in quotes where it needs them; .p NULL: nothing, which is null. Commas and line
 * ends are the caller's. */
void ak_csv_put(struct ak_buf *out, struct ak_str text);

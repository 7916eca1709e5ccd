/* export_priv.h — one export under way: what to do, and the file that is being made.
 *
 * Threads: one.
 */
#pragma once
#include "perf/perf_priv.h"

struct ak_perf_run {
    const struct ak_perf_export_options *options;
    struct ak_perf_export_result *result;
    struct ak_err *err; /* of the first source that failed; may be NULL */
    enum ak_rc rc;      /* of it */
};

/* When a file was changed last, and its size: what says that an output is still current. */
struct ak_perf_stamp {
    uint64_t bytes;
    int64_t modified_ns;
};

/* The two files of the summary: the former one, which a rotation leaves, and the present one. */
#define AK_PERF_SUMMARY_FILES 2

/* A day of them: where its lines are, how many rows they are, and their hash, by which a file made
 * of them is current. */
struct ak_perf_day_range {
    int32_t day;
    struct ak_perf_part {
        uint64_t from;
        uint64_t to;   /* 0: nothing in this file */
        uint64_t line; /* of `from` */
    } parts[AK_PERF_SUMMARY_FILES];
    uint64_t rows;
    uint64_t digest;
};

/* Held open, so that a rotation meanwhile changes nothing. */
struct ak_perf_summary {
    struct ak_file *files[AK_PERF_SUMMARY_FILES]; /* NULL: there is none */
    uint64_t sizes[AK_PERF_SUMMARY_FILES];
    struct ak_perf_day_range *days; /* sorted */
    size_t count;
};

struct ak_perf_job { /* one source's rows of one day (week) that become one file */
    enum ak_perf_table table;
    int32_t day;
    char source[AK_PERF_FILE_NAME_MAX];
    char target[AK_PERF_FILE_NAME_MAX];
    struct ak_buf source_path; /* NUL-terminated, as is the next */
    struct ak_buf target_path;
    struct ak_perf_stamp stamp;
    const struct ak_perf_summary *summary;
    const struct ak_perf_day_range *range; /* of it; NULL: another table */
};

void ak_perf_job_init(struct ak_perf_job *job, const struct ak_perf_run *run,
                      enum ak_perf_table table, int32_t day, const char *source);
void ak_perf_job_release(struct ak_perf_job *job);

/* Tell the caller; `note` has the rest filled in. */
void ak_perf_tell(const struct ak_perf_run *run, const struct ak_perf_job *job,
                  enum ak_perf_note_kind kind, struct ak_perf_note *note);
void ak_perf_tell_text(const struct ak_perf_run *run, const struct ak_perf_job *job,
                       enum ak_perf_note_kind kind, const char *text);
/* Note that the source failed, and keep the first such. */
void ak_perf_job_failed(struct ak_perf_run *run, const struct ak_perf_job *job, enum ak_rc rc,
                        const struct ak_err *why);

/* AK_NOT_FOUND: no such file. */
AK_MUST enum ak_rc ak_perf_stamp_of(struct ak_fs *fs, const char *path, struct ak_perf_stamp *stamp,
                                    struct ak_err *err);
/* Found, and current or a dry run? Then all is said, and *is_done. */
AK_MUST enum ak_rc ak_perf_job_begin(struct ak_perf_run *run, struct ak_perf_job *job,
                                     bool *is_done, struct ak_err *err);
/* Do the job, by its table. */
AK_MUST enum ak_rc ak_perf_job_rows(struct ak_perf_run *run, struct ak_perf_job *job,
                                    struct ak_err *err);

#define AK_PERF_DAYS_MAX 36525u
/* AK_NOT_FOUND: neither file is there. */
AK_MUST enum ak_rc ak_perf_summary_open(const struct ak_perf_export_options *options,
                                        struct ak_perf_summary *summary, struct ak_err *err);
void ak_perf_summary_close(struct ak_perf_summary *summary); /* idempotent */
/* The day of the report. */
AK_MUST enum ak_rc ak_perf_report_day(struct ak_fs *fs, const char *path, int32_t *day,
                                      struct ak_err *err);

/* A file that is being made of a source. */
struct ak_perf_making {
    struct ak_perf_run *run;
    struct ak_perf_job *job;
    struct ak_perf_output output;
    struct ak_perf_rejects rejects;
    uint64_t steps; /* since the last progress note */
    uint64_t taken; /* rows */
};
/* Released in any case. */
AK_MUST enum ak_rc ak_perf_making_begin(struct ak_perf_making *making, struct ak_perf_run *run,
                                        struct ak_perf_job *job, struct ak_err *err);
void ak_perf_making_release(struct ak_perf_making *making);
/* Another row or reject; `done`: bytes of the source so far. */
void ak_perf_making_step(struct ak_perf_making *making, uint64_t done);
AK_MUST enum ak_rc ak_perf_making_bad(struct ak_perf_making *making, const struct ak_perf_bad *bad,
                                      struct ak_err *err);
/* Room in the batch for one more row, with so many bytes of text. */
AK_MUST enum ak_rc ak_perf_making_room(struct ak_perf_making *making, size_t text_bytes,
                                       struct ak_err *err);
/* Rejects and file appear. AK_CORRUPT: there are rejects only. */
AK_MUST enum ak_rc ak_perf_making_commit(struct ak_perf_making *making, struct ak_err *err);

AK_MUST enum ak_rc ak_perf_summary_rows(struct ak_perf_making *making, struct ak_err *err);

/* making.c — a file that is being made of a source: what every kind of source does alike. */
#include "perf/export_priv.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_ROWS 8192u

enum ak_rc ak_perf_making_begin(struct ak_perf_making *making, struct ak_perf_run *run,
                                struct ak_perf_job *job, struct ak_err *err)
{
    const struct ak_perf_export_options *o = run->options;
    const struct ak_perf_output_options how = {o->codec, job->stamp.bytes};
    struct ak_buf path;
    *making = (struct ak_perf_making){.run = run, .job = job};
    ak_buf_init(&path, PATH_MAX);
    ak_buf_add_fmt(&path, "%s/" AK_PERF_REJECTED_FOLDER "/%.*s.csv", o->output,
                   (int)(strlen(job->target) - strlen(".parquet")), job->target);
    enum ak_rc rc = ak_buf_check(&path, err);
    if (rc == AK_OK) {
        rc = ak_perf_rejects_init(&making->rejects, o->fs, ak_buf_str(&path), err);
    }
    if (rc == AK_OK) {
        rc = ak_perf_output_open(&making->output, o->fs, ak_perf_table_info(job->table),
                                 ak_buf_str(&job->target_path), &how, err);
    }
    ak_buf_release(&path);
    return rc;
}

void ak_perf_making_release(struct ak_perf_making *making)
{
    ak_perf_output_release(&making->output);
    ak_perf_rejects_release(&making->rejects);
}

void ak_perf_making_step(struct ak_perf_making *making, uint64_t done)
{
    if (++making->steps == PROGRESS_ROWS) {
        struct ak_perf_note note = {.done = done};
        making->steps = 0;
        ak_perf_tell(making->run, making->job, AK_PERF_NOTE_PROGRESS, &note);
    }
}

enum ak_rc ak_perf_making_bad(struct ak_perf_making *making, const struct ak_perf_bad *bad,
                              struct ak_err *err)
{
    struct ak_perf_note note = {.line = bad->line, .text = bad->reason, .row = bad->text};
    ak_perf_tell(making->run, making->job, AK_PERF_NOTE_BAD_ROW, &note);
    return ak_perf_rejects_add(&making->rejects, bad, err);
}

enum ak_rc ak_perf_making_room(struct ak_perf_making *making, size_t text_bytes, struct ak_err *err)
{
    making->taken++;
    return ak_perf_batch_is_full(&making->output.batch, text_bytes)
               ? ak_perf_output_send(&making->output, err)
               : AK_OK;
}

/* Where the rows come from, for the one who wonders later. */
static enum ak_rc put_origin(struct ak_perf_making *making, struct ak_err *err)
{
    const struct ak_perf_job *job = making->job;
    struct ak_perf_output *output = &making->output;
    char number[24];
    enum ak_rc rc = ak_perf_output_metadata(output, "akidb.source", job->source, err);
    if (rc == AK_OK && job->range) {
        (void)snprintf(number, sizeof number, "%016llx", (unsigned long long)job->range->digest);
        rc = ak_perf_output_metadata(output, "akidb.source_hash", number, err);
    } else if (rc == AK_OK) {
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)job->stamp.bytes);
        rc = ak_perf_output_metadata(output, "akidb.source_bytes", number, err);
    }
    if (rc == AK_OK) {
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)making->rejects.count);
        rc = ak_perf_output_metadata(output, "akidb.rows_rejected", number, err);
    }
    return rc;
}

enum ak_rc ak_perf_making_commit(struct ak_perf_making *making, struct ak_err *err)
{
    struct ak_perf_run *run = making->run;
    struct ak_perf_export_result *result = run->result;
    struct ak_perf_note note = {.rejected = making->rejects.count, .rows = making->taken};
    for (int i = 0; making->job->range && i < AK_PERF_SUMMARY_FILES; i++) {
        note.source_bytes += making->job->range->parts[i].to - making->job->range->parts[i].from;
    }
    ak_perf_tell(run, making->job, AK_PERF_NOTE_PARSED, &note);
    enum ak_rc rc = ak_perf_rejects_commit(&making->rejects, err);
    if (rc == AK_OK && making->taken == 0 && making->rejects.count > 0) {
        return ak_fail(err, AK_CORRUPT,
                       "none of its %llu rows can be taken; they are in '%s' with the reasons",
                       (unsigned long long)making->rejects.count, making->rejects.path.p);
    }
    if (rc == AK_OK) {
        rc = put_origin(making, err);
    }
    if (rc == AK_OK) {
        rc = ak_perf_output_commit(&making->output, &note.rows, &note.bytes, err);
    }
    if (rc != AK_OK) {
        return rc;
    }
    ak_perf_tell(run, making->job, AK_PERF_NOTE_WROTE, &note);
    result->written++;
    result->rows += note.rows;
    result->rejected += note.rejected;
    result->bytes += note.bytes;
    result->source_bytes += note.source_bytes;
    return AK_OK;
}

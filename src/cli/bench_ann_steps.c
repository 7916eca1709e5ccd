/* bench_ann_steps.c — `--steps` of `akidb bench ann`: an index that is built once and then measured
 * in turns with other programs.
 *
 * Standard input has one step a line, its words divided by blanks; each is answered by one line of
 * JSON when it is done, and the first line, before any step, tells of the build. The end of the
 * input ends the run; a step that cannot be done ends it with an error.
 *
 *     ef THREADS LIST
 *     recall THREADS LIST WITH       measured with `invented` queries, or `real` ones
 *     filter THREADS KIND LIST EFS
 *     image THREADS FILE EFS
 *     churn THREADS SHARE            rows change their slots: no filter may follow
 *     floor THREADS                  one thread whatever it says
 */
#include "base/clock.h"
#include "base/str.h"
#include "cli/bench_ann.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 4096
#define WORDS_MAX 5u

static double seconds_since(int64_t began_ns)
{
    return (double)(ak_mono_ns(ak_clock_system()) - began_ns) / 1e9;
}

/* Cuts the line where it lies; words past WORDS_MAX are counted and left out. */
static size_t split(char *line, char *words[WORDS_MAX])
{
    size_t count = 0;
    for (char *at = line; *at;) {
        size_t blanks = strspn(at, " \t\r\n");
        at += blanks;
        size_t len = strcspn(at, " \t\r\n");
        if (len == 0) {
            break;
        }
        if (count < WORDS_MAX) {
            words[count] = at;
        }
        count++;
        at += len;
        if (*at) {
            *at++ = '\0';
        }
    }
    return count;
}

static enum ak_rc measure_efs(struct ak_ann *b, char *const words[WORDS_MAX], struct ak_err *err)
{
    enum ak_rc rc = ak_ann_read_efs(b, words[2], err);
    rc = rc == AK_OK ? ak_ann_measure(b, &b->all, &b->fresh, err) : rc;
    if (rc == AK_OK) {
        ak_ann_print_part(b, AK_ANN_PART_POINTS);
    }
    return rc;
}

static enum ak_rc measure_recalls(struct ak_ann *b, char *const words[WORDS_MAX],
                                  struct ak_err *err)
{
    b->asks_real = strcmp(words[3], "real") == 0;
    if (!b->asks_real && strcmp(words[3], "invented") != 0) {
        return ak_fail(err, AK_INVALID,
                       "recall is measured with \"%s\"; allowed are invented, real", words[3]);
    }
    b->o.recall = words[2];
    b->wanted_count = 0;
    enum ak_rc rc = ak_ann_read_wanted(b, err);
    rc = rc == AK_OK ? ak_ann_measure_wanted(b, err) : rc;
    if (rc == AK_OK) {
        ak_ann_print_part(b, AK_ANN_PART_WANTED);
    }
    b->o.recall = NULL;
    return rc;
}

static enum ak_rc measure_filters(struct ak_ann *b, char *const words[WORDS_MAX],
                                  struct ak_err *err)
{
    if (b->o.churn > 0) {
        return ak_fail(err, AK_INVALID, "filters come before churn: they name rows by their slots");
    }
    b->o.correlated = words[2];
    b->o.selectivity = words[3];
    b->filtered_count = 0;
    enum ak_rc rc = ak_ann_read_filters(b, err);
    rc = rc == AK_OK ? ak_ann_read_efs(b, words[4], err) : rc;
    rc = rc == AK_OK ? ak_ann_measure_filters(b, err) : rc;
    if (rc == AK_OK) {
        ak_ann_print_part(b, AK_ANN_PART_FILTERED);
    }
    b->o.correlated = NULL;
    b->o.selectivity = NULL;
    return rc;
}

static enum ak_rc churn(struct ak_ann *b, char *const words[WORDS_MAX], struct ak_err *err)
{
    double shares[AK_ANN_SHARES_MAX];
    size_t count = 0;
    if (b->o.churn > 0) {
        return ak_fail(err, AK_INVALID, "rows were churned already: their slots are not known");
    }
    enum ak_rc rc = ak_ann_read_shares("churn", words[2], shares, &count, err);
    if (rc != AK_OK) {
        return rc;
    }
    b->o.churn = shares[0];
    b->ef_count = 0; /* the next ef step shows what became of the graph */
    rc = ak_ann_churn(b, shares[0], err);
    if (rc == AK_OK) {
        ak_ann_print_part(b, AK_ANN_PART_CHURNED);
    }
    return rc;
}

static enum ak_rc measure_floor(struct ak_ann *b, char *const words[WORDS_MAX], struct ak_err *err)
{
    (void)words;
    enum ak_rc rc = ak_ann_measure_floor(b, err);
    if (rc == AK_OK) {
        ak_ann_print_part(b, AK_ANN_PART_FLOOR);
    }
    return rc;
}

/* --- The image --- */

static enum ak_rc write_image(struct ak_ann *b, const char *path, struct ak_err *err)
{
    struct ak_image_writer *writer = NULL;
    enum ak_rc rc = ak_index_freeze(b->index, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = ak_image_create_file(ak_fs_posix(), path, &writer, err);
    rc = rc == AK_OK ? ak_index_write(b->index, writer, err) : rc;
    if (rc == AK_OK) {
        rc = ak_image_commit(writer, &b->restored.bytes, err);
    } else {
        ak_image_abort(writer);
    }
    ak_index_unfreeze(b->index);
    return rc;
}

/* From the file to the first answer. */
static enum ak_rc open_image(struct ak_ann *b, const char *path, struct ak_image **image,
                             struct ak_index **index, struct ak_err *err)
{
    const struct ak_index_query query = {
        .vector = b->query.rows, .k = (uint32_t)b->o.k, .ef = b->efs[0]};
    uint32_t count = 0;
    enum ak_rc rc = ak_image_open_file(ak_fs_posix(), path, image, err);
    rc = rc == AK_OK ? ak_index_load(ak_index_options_of(b->index), *image, index, err) : rc;
    if (rc == AK_OK) {
        unsigned token = ak_epoch_enter(b->epoch);
        rc = ak_index_search(*index, &query, b->hits, &count, NULL, err);
        ak_epoch_leave(b->epoch, token);
    }
    return rc;
}

static enum ak_rc measure_image(struct ak_ann *b, char *const words[WORDS_MAX], struct ak_err *err)
{
    struct ak_image *image = NULL;
    struct ak_index *loaded = NULL;
    struct ak_index *built = b->index;
    const char *path = words[2];
    enum ak_rc rc = ak_ann_read_efs(b, words[3], err);
    if (rc != AK_OK) {
        return rc;
    }
    int64_t began = ak_mono_ns(ak_clock_system());
    rc = write_image(b, path, err);
    b->restored.save_seconds = seconds_since(began);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "%s", path);
    }
    began = ak_mono_ns(ak_clock_system());
    rc = open_image(b, path, &image, &loaded, err);
    b->restored.open_seconds = seconds_since(began);
    if (rc == AK_OK) {
        b->index = loaded;
        rc = ak_ann_measure(b, &b->all, &b->restored.curve, err);
        b->index = built;
    }
    ak_index_close(loaded);
    ak_image_close(image);
    if (rc == AK_OK) {
        ak_ann_print_part(b, AK_ANN_PART_RESTORED);
    }
    return rc;
}

/* --- Lines --- */

static const struct {
    const char *name;
    size_t words;
    enum ak_rc (*take)(struct ak_ann *b, char *const words[WORDS_MAX], struct ak_err *err);
} steps[] = {
    {"ef", 3, measure_efs},
    {"recall", 4, measure_recalls},
    {"filter", 5, measure_filters},
    {"image", 4, measure_image},
    {"churn", 3, churn},
    {"floor", 2, measure_floor},
};

static enum ak_rc take_step(struct ak_ann *b, char *line, struct ak_err *err)
{
    char *words[WORDS_MAX] = {0};
    size_t count = split(line, words);
    uint64_t threads;
    if (count == 0) {
        return AK_OK;
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (strcmp(words[0], steps[i].name) != 0 || count != steps[i].words) {
            continue;
        }
        if (!ak_str_u64(ak_str_of(words[1]), AK_ANN_THREADS_MAX, &threads) || threads == 0) {
            return ak_fail(err, AK_INVALID, "a step's threads are \"%s\"; it takes 1 to %u",
                           words[1], AK_ANN_THREADS_MAX);
        }
        b->o.threads = threads;
        return steps[i].take(b, words, err);
    }
    return ak_fail(
        err, AK_INVALID,
        "no step begins with \"%s\" and has %zu words; `akidb help bench ann` lists them", words[0],
        count);
}

enum ak_rc ak_ann_take_steps(struct ak_ann *b, struct ak_err *err)
{
    char line[LINE_MAX_BYTES];
    enum ak_rc rc = AK_OK;
    ak_ann_print_part(b, AK_ANN_PART_FACTS);
    while (rc == AK_OK && fgets(line, sizeof line, stdin)) {
        if (!strchr(line, '\n') && !feof(stdin)) {
            return ak_fail(err, AK_INVALID, "a step has more than %d bytes", LINE_MAX_BYTES - 2);
        }
        rc = take_step(b, line, err);
    }
    return rc;
}

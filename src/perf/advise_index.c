/* advise_index.c — ef from what was measured; m and quantisation from trials.
 *
 * A difference counts when it is beyond the noise of the measurement: a recall, when the wanted one
 * is more than a standard error away; a time, when it is a tenth (of ef) or a seventh (of what
 * needs a rebuild) better.
 */
#include "perf/advise.h"
#include <stdio.h>

#define EF_GAIN 1.10
#define REBUILD_GAIN 1.15
#define FLAT_RECALL 0.9999 /* the smallest ef already finds all */
#define LINK_BYTES 4.0

static const struct ak_advise_point *point_at(const struct ak_advise_measured *measured,
                                              uint32_t ef)
{
    for (size_t i = 0; i < measured->count; i++) {
        if (measured->points[i].ef == ef) {
            return &measured->points[i];
        }
    }
    return NULL;
}

/* The smallest ef that surely reaches the recall. */
static const struct ak_advise_point *enough(const struct ak_advise_measured *measured,
                                            double recall)
{
    for (size_t i = 0; i < measured->count; i++) {
        const struct ak_advise_point *point = &measured->points[i];
        if (point->recall - point->recall_dev >= recall || point->recall >= 1) {
            return point;
        }
    }
    return NULL;
}

static void put_basis(struct ak_buf *text, const struct ak_advise_measured *measured,
                      const struct ak_advise_point *now, const struct ak_advise_point *then,
                      double wanted)
{
    ak_buf_clear(text);
    ak_buf_add_fmt(
        text,
        "measured: recall@%u %.4f and %.3f ms at ef %u (now), %.4f and %.3f ms at ef %u; "
        "wanted %g; medians of %u stored vectors searched for, against the exact "
        "answer (%.3f ms), over %llu documents",
        measured->k, now->recall, now->median_ms, now->ef, then->recall, then->median_ms, then->ef,
        wanted, measured->queries, measured->exact_ms, (unsigned long long)measured->documents);
    if (measured->ef_searches) {
        ak_buf_add_fmt(text, "; %llu searches in the log ask for ef %u",
                       (unsigned long long)measured->ef_searches, measured->ef);
    }
    if (measured->recall_searches) {
        ak_buf_add_fmt(text,
                       "; %llu of %llu searches in the log ask for a recall, which chooses their "
                       "ef whatever this one is",
                       (unsigned long long)measured->recall_searches,
                       (unsigned long long)measured->searches);
    }
}

static void propose_ef(struct ak_advice *advice, const struct ak_advise_measured *measured,
                       const struct ak_advise_point *now, const struct ak_advise_point *then,
                       const char *priority, double wanted)
{
    char index[32];
    char pattern[48];
    (void)snprintf(index, sizeof index, "ef_search=%u", then->ef);
    (void)snprintf(pattern, sizeof pattern, "search k=%u ef=%u", measured->k, now->ef);
    put_basis(&advice->text, measured, now, then, wanted);
    const struct ak_perf_recommendation one = {
        .table = measured->table,
        .index = ak_str_of(index),
        .query_pattern = ak_str_of(pattern),
        .priority = ak_str_of(priority),
        .basis = ak_buf_str(&advice->text),
        .estimated_speedup = then->median_ms > 0 ? now->median_ms / then->median_ms : 0,
        .has_speedup = then->median_ms > 0,
        .estimated_cost = 0,
        .has_cost = true,
    };
    ak_advice_add(advice, &one);
}

uint32_t ak_advise_ef(struct ak_advice *advice, const struct ak_advise_measured *measured,
                      double recall_wanted)
{
    const struct ak_advise_point *now = point_at(measured, measured->ef);
    const struct ak_advise_point *then = enough(measured, recall_wanted);
    if (!now || measured->count == 0) {
        return 0;
    }
    const struct ak_advise_point *first = &measured->points[0];
    const struct ak_advise_point *last = &measured->points[measured->count - 1];
    if (first->recall >= FLAT_RECALL && first->median_ms * EF_GAIN >= last->median_ms) {
        ak_advice_note(advice,
                       "%.*s: ef makes no difference (recall 1 at ef %u): its searches compare "
                       "every document",
                       AK_STR_ARG(measured->table), first->ef);
        return 0;
    }
    if (!then) {
        ak_advice_note(advice, "%.*s: no ef up to %u reaches recall %g (%.4f there): see m",
                       AK_STR_ARG(measured->table), last->ef, recall_wanted, last->recall);
        return 0;
    }
    if (measured->recall_searches && measured->recall_searches == measured->searches) {
        ak_advice_note(
            advice,
            "%.*s: all %llu searches in the log ask for a recall, and the server chooses "
            "their ef: nothing uses ef %u",
            AK_STR_ARG(measured->table), (unsigned long long)measured->searches, measured->ef);
        return then->ef;
    }
    bool is_short = now->recall + now->recall_dev < recall_wanted;
    double gain = then->median_ms > 0 ? now->median_ms / then->median_ms : 0;
    if (is_short) {
        bool is_far = now->recall + 0.05 < recall_wanted;
        propose_ef(advice, measured, now, then, is_far ? "high" : "medium", recall_wanted);
    } else if (then->ef < now->ef && gain >= EF_GAIN) {
        propose_ef(advice, measured, now, then, gain >= 1.5 ? "medium" : "low", recall_wanted);
    } else {
        ak_advice_note(advice, "%.*s: ef %u fits: recall@%u %.4f in %.3f ms",
                       AK_STR_ARG(measured->table), now->ef, measured->k, now->recall,
                       now->median_ms);
    }
    return then->ef;
}

/* --- Trials --- */

/* Bytes that the parameters take beyond the present ones, by the layout of the index: 2·m links of
 * four bytes a document on level 0, and the codes. */
static double extra_bytes(const struct ak_advise_measured *measured,
                          const struct ak_index_params *params)
{
    double links = 2 * LINK_BYTES * ((double)params->m - (double)measured->params.m);
    double codes =
        (double)ak_quantization_row_bytes(params->quantization, measured->dimension) -
        (double)ak_quantization_row_bytes(measured->params.quantization, measured->dimension);
    return (links + codes) * (double)measured->documents;
}

static void put_trial(struct ak_buf *text, const struct ak_advise_trial *trial)
{
    ak_buf_add_fmt(text, "m %u, %s: ", trial->params.m,
                   ak_quantization_name(trial->params.quantization));
    if (trial->ef) {
        ak_buf_add_fmt(text, "%.3f ms at ef %u (recall %.4f)", trial->median_ms, trial->ef,
                       trial->recall);
    } else {
        ak_buf_add_fmt(text, "not reached (best recall %.4f)", trial->recall);
    }
    ak_buf_add_fmt(text, ", built in %.2f s", trial->build_s);
}

static void propose_rebuild(struct ak_advice *advice, const struct ak_advise_measured *measured,
                            const struct ak_advise_trial *now, const struct ak_advise_trial *then,
                            uint32_t rows, double wanted)
{
    char index[48];
    char pattern[48];
    bool by_m = then->params.m != now->params.m;
    if (by_m) {
        (void)snprintf(index, sizeof index, "m=%u", then->params.m);
    } else {
        (void)snprintf(index, sizeof index, "quantization=%s",
                       ak_quantization_name(then->params.quantization));
    }
    (void)snprintf(pattern, sizeof pattern, "search k=%u", measured->k);
    ak_buf_clear(&advice->text);
    ak_buf_add_fmt(&advice->text,
                   "trial on this machine with %u of %llu documents, smallest ef that reaches "
                   "recall@%u %g: ",
                   rows, (unsigned long long)measured->documents, measured->k, wanted);
    put_trial(&advice->text, now);
    ak_buf_add_str(&advice->text, AK_STR("; "));
    put_trial(&advice->text, then);
    ak_buf_add_str(&advice->text, AK_STR(". At full size the gain may be another; it takes a new "
                                         "collection with these parameters"));
    bool has_speedup = now->ef && then->ef && then->median_ms > 0;
    const struct ak_perf_recommendation one = {
        .table = measured->table,
        .index = ak_str_of(index),
        .query_pattern = ak_str_of(pattern),
        .priority = now->ef ? AK_STR("low") : AK_STR("high"),
        .basis = ak_buf_str(&advice->text),
        .estimated_speedup = has_speedup ? now->median_ms / then->median_ms : 0,
        .has_speedup = has_speedup,
        .estimated_cost = extra_bytes(measured, &then->params),
        .has_cost = true,
    };
    ak_advice_add(advice, &one);
}

void ak_advise_trials(struct ak_advice *advice, const struct ak_advise_measured *measured,
                      const struct ak_advise_trial *trials, size_t count, uint32_t rows,
                      double recall_wanted)
{
    if (count == 0 || trials[0].was_exact) {
        ak_advice_note(advice,
                       "%.*s: m and quantisation were not tried: %u documents are searched without "
                       "a graph; --trial takes more",
                       AK_STR_ARG(measured->table), rows);
        return;
    }
    const struct ak_advise_trial *now = &trials[0];
    for (size_t i = 1; i < count; i++) {
        const struct ak_advise_trial *then = &trials[i];
        bool is_faster = now->ef && then->ef && then->median_ms * REBUILD_GAIN <= now->median_ms;
        bool is_enough = !now->ef && then->ef;
        if (!then->was_exact && (is_faster || is_enough)) {
            propose_rebuild(advice, measured, now, then, rows, recall_wanted);
        } else {
            ak_buf_clear(&advice->text);
            put_trial(&advice->text, then);
            ak_buf_add_str(&advice->text, AK_STR("; the present "));
            put_trial(&advice->text, now);
            ak_advice_note(advice, "%.*s: no gain in a trial with %u documents: %s",
                           AK_STR_ARG(measured->table), rows, ak_buf_cstr(&advice->text));
        }
    }
}

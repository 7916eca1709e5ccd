/* bench_ann_print.c — what `akidb bench ann` says: tables, or one JSON object. */
#include "base/mem.h"
#include "cli/bench_ann.h"
#include "cli/output.h"
#include "simd/simd.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void print_points(const struct ak_ann_point *points, size_t count)
{
    static const struct ak_table_column columns[] = {
        {.title = "EF", .right = true},        {.title = "RECALL", .right = true},
        {.title = "BY ID", .right = true},     {.title = "QPS", .right = true},
        {.title = "P50 µs", .right = true},    {.title = "P99 µs", .right = true},
        {.title = "DISTANCES", .right = true}, {.title = "SCANNED", .right = true},
    };
    char text[AK_NUMBER_TEXT_MAX];
    struct ak_table table;
    ak_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < count; i++) {
        const struct ak_ann_point *p = &points[i];
        ak_table_cell_fmt(&table, "%u", p->ef);
        ak_table_cell_fmt(&table, "%.4f", p->recall);
        if (isnan(p->recall_ids)) {
            ak_table_cell(&table, AK_STR("-"));
        } else {
            ak_table_cell_fmt(&table, "%.4f", p->recall_ids);
        }
        ak_table_cell_fmt(&table, "%s", ak_text_count((uint64_t)p->qps, text));
        ak_table_cell_fmt(&table, "%.0f", p->p50_us);
        ak_table_cell_fmt(&table, "%.0f", p->p99_us);
        ak_table_cell_fmt(&table, "%.0f", p->distances);
        ak_table_cell_fmt(&table, "%.0f %%", 100.0 * p->exact);
    }
    ak_table_print(&table, stdout);
    ak_table_release(&table);
}

static double bytes_a_vector(const struct ak_ann *b)
{
    return (double)ak_index_bytes(b->index) / b->base.count;
}

void ak_ann_print_table(const struct ak_ann *b)
{
    char text[AK_NUMBER_TEXT_MAX];
    (void)printf("%s vectors of %u, %s, m %" PRIu64 ", ef_construction %" PRIu64 ", %" PRIu64
                 " threads, %s\n",
                 ak_text_count(b->base.count, text), b->base.dimension, ak_metric_name(b->metric),
                 b->o.m, b->o.ef_construction, b->o.threads, ak_simd_get()->name);
    (void)printf("build %.2f s (%.0f vectors/s), of which adding %.2f s; %.0f bytes a vector\n",
                 b->build_seconds, b->base.count / b->build_seconds, b->add_seconds,
                 bytes_a_vector(b));
    print_points(b->fresh.points, b->ef_count);
    for (size_t i = 0; i < b->wanted_count; i++) {
        (void)printf("\nrecall %g asked for; measured in %.2f s\n", b->wanted[i].recall,
                     b->calibration_seconds);
        print_points(&b->wanted[i].point, 1);
    }
    for (size_t i = 0; i < b->filtered_count; i++) {
        (void)printf("\n%g of the rows allowed, %s\n", b->filtered[i].selectivity,
                     ak_ann_kind_name(b->kind));
        print_points(b->filtered[i].curve.points, b->ef_count);
    }
    if (b->o.churn > 0) {
        (void)printf("\n%g of the rows removed and put back, in %.2f s\n", b->o.churn,
                     b->churn_seconds);
        print_points(b->churned.points, b->ef_count);
    }
    if (b->vectors == AK_VECTORS_DISK) {
        ak_ann_print_disk(b);
    }
    (void)printf("recall@%" PRIu64 " over %u queries\n", b->o.k, b->query.count);
}

static void json_point(const struct ak_ann_point *p)
{
    (void)printf("\"ef\":%u,\"recall\":%.5f,", p->ef, p->recall);
    if (!isnan(p->recall_ids)) {
        (void)printf("\"recall_by_id\":%.5f,", p->recall_ids);
    }
    (void)printf("\"qps\":%.1f,\"cpu_us\":%.2f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
                 "\"distances\":%.1f,\"scanned\":%.4f}",
                 p->qps, p->cpu_us, p->p50_us, p->p99_us, p->distances, p->exact);
}

static void json_points(const struct ak_ann *b, const struct ak_ann_curve *curve)
{
    (void)printf("\"points\":[");
    for (size_t i = 0; i < b->ef_count; i++) {
        (void)printf(i ? ",{" : "{");
        json_point(&curve->points[i]);
    }
    (void)printf("]");
}

static void json_facts(const struct ak_ann *b)
{
    (void)printf(
        "\"vectors\":%u,\"dimension\":%u,\"metric\":\"%s\",\"quantization\":\"%s\",\"m\":%" PRIu64
        ",\"ef_construction\":%" PRIu64 ",\"threads\":%" PRIu64
        ",\"kernels\":\"%s\",\"add_seconds\":%.4f,\"build_seconds\":%.4f,"
        "\"truth_seconds\":%.4f,\"bytes_per_vector\":%.1f,\"resident_per_vector\":%.1f,"
        "\"queries\":%u,\"k\":%" PRIu64,
        b->base.count, b->base.dimension, ak_metric_name(b->metric), b->o.quantization, b->o.m,
        b->o.ef_construction, b->o.threads, ak_simd_get()->name, b->add_seconds, b->build_seconds,
        b->truth_seconds, bytes_a_vector(b),
        (b->resident_after - b->resident_before) / b->base.count, b->query.count, b->o.k);
}

static void json_wanted(const struct ak_ann *b)
{
    (void)printf("\"calibration_seconds\":%.4f,\"measured_with\":\"%s\",\"wanted\":[",
                 b->calibration_seconds, b->asks_real ? "real" : "invented");
    for (size_t i = 0; i < b->wanted_count; i++) {
        (void)printf("%s{\"asked\":%g,", i ? "," : "", b->wanted[i].recall);
        json_point(&b->wanted[i].point);
    }
    (void)printf("]");
}

static void json_filtered(const struct ak_ann *b)
{
    (void)printf("\"filtered\":[");
    for (size_t i = 0; i < b->filtered_count; i++) {
        (void)printf("%s{\"selectivity\":%g,\"kind\":\"%s\",", i ? "," : "",
                     b->filtered[i].selectivity, ak_ann_kind_name(b->kind));
        json_points(b, &b->filtered[i].curve);
        (void)printf("}");
    }
    (void)printf("]");
}

static void json_churned(const struct ak_ann *b)
{
    (void)printf("\"churned\":{\"share\":%g,\"seconds\":%.4f,", b->o.churn, b->churn_seconds);
    json_points(b, &b->churned);
    (void)printf("}");
}

static void json_restored(const struct ak_ann *b)
{
    (void)printf("\"bytes\":%" PRIu64 ",\"save_seconds\":%.4f,\"open_seconds\":%.4f,",
                 b->restored.bytes, b->restored.save_seconds, b->restored.open_seconds);
    json_points(b, &b->restored.curve);
}

void ak_ann_print_part(const struct ak_ann *b, enum ak_ann_part part)
{
    (void)printf("{");
    switch (part) {
    case AK_ANN_PART_FACTS:
        json_facts(b);
        break;
    case AK_ANN_PART_POINTS:
        json_points(b, &b->fresh);
        break;
    case AK_ANN_PART_WANTED:
        json_wanted(b);
        break;
    case AK_ANN_PART_FILTERED:
        json_filtered(b);
        break;
    case AK_ANN_PART_CHURNED:
        json_churned(b);
        break;
    case AK_ANN_PART_RESTORED:
        json_restored(b);
        break;
    case AK_ANN_PART_FLOOR:
        (void)printf("\"code_ns\":%.2f,\"row_ns\":%.2f", b->code_ns, b->row_ns);
        break;
    }
    (void)printf("}\n");
    (void)fflush(stdout);
}

void ak_ann_print_json(const struct ak_ann *b)
{
    (void)printf("{");
    json_facts(b);
    (void)printf(",");
    json_points(b, &b->fresh);
    if (b->wanted_count) {
        (void)printf(",");
        json_wanted(b);
    }
    if (b->filtered_count) {
        (void)printf(",");
        json_filtered(b);
    }
    if (b->o.churn > 0) {
        (void)printf(",");
        json_churned(b);
    }
    if (b->vectors == AK_VECTORS_DISK) {
        ak_ann_json_disk(b);
    }
    (void)printf("}\n");
}

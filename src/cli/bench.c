/* bench.c — akidb bench ann | load | kernels, and the latency histogram. */
#include "cli/bench.h"
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

/* Buckets of 100 ns below 6.4 µs; above, 64 per power of two. */
#define UNIT_NS 100

static uint32_t bucket_of(uint64_t units)
{
    if (units < AK_HISTOGRAM_SUB) {
        return (uint32_t)units;
    }
    uint32_t top = 63u - (uint32_t)__builtin_clzll(units); /* ≥ 6 */
    uint32_t group = top - 5;
    uint32_t bucket = group * AK_HISTOGRAM_SUB + (uint32_t)((units >> (top - 6)) & 63u);
    return bucket < AK_HISTOGRAM_BUCKETS ? bucket : AK_HISTOGRAM_BUCKETS - 1;
}

/* The middle of a bucket, in units. */
static double middle_of(uint32_t bucket)
{
    if (bucket < AK_HISTOGRAM_SUB) {
        return bucket + 0.5;
    }
    uint32_t group = bucket / AK_HISTOGRAM_SUB;
    double width = (double)((uint64_t)1 << (group - 1));
    return (AK_HISTOGRAM_SUB + bucket % AK_HISTOGRAM_SUB + 0.5) * width;
}

void ak_histogram_add(struct ak_histogram *histogram, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    histogram->counts[bucket_of(value / UNIT_NS)]++;
    histogram->total++;
    histogram->sum_seconds += (double)value / 1e9;
    histogram->max_ns = value > histogram->max_ns ? value : histogram->max_ns;
}

void ak_histogram_merge(struct ak_histogram *into, const struct ak_histogram *from)
{
    for (uint32_t i = 0; i < AK_HISTOGRAM_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->total += from->total;
    into->sum_seconds += from->sum_seconds;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

double ak_histogram_us(const struct ak_histogram *histogram, double share)
{
    double want = share * (double)histogram->total;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < AK_HISTOGRAM_BUCKETS && histogram->total > 0; i++) {
        seen += histogram->counts[i];
        if ((double)seen >= want && seen > 0) {
            double us = middle_of(i) * UNIT_NS / 1e3;
            double max_us = (double)histogram->max_ns / 1e3;
            return us < max_us ? us : max_us;
        }
    }
    return 0;
}

static const struct {
    const char *name;
    enum ak_rc (*run)(int argc, char **argv, struct ak_err *err);
    const char *summary;
} benches[] = {
    {"ann", ak_bench_ann, "recall and speed of the index on vectors from .npy files"},
    {"load", ak_bench_load, "a running server under many clients"},
    {"kernels", ak_bench_kernels, "nanoseconds a distance, per instruction set"},
};

enum ak_rc ak_cli_bench(int argc, char **argv, struct ak_err *err)
{
    for (size_t i = 0; argc > 0 && i < sizeof benches / sizeof benches[0]; i++) {
        if (strcmp(argv[0], benches[i].name) == 0) {
            return benches[i].run(argc - 1, argv + 1, err);
        }
    }
    bool help = argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
    if (!help) {
        return argc == 0
                   ? ak_fail(err, AK_INVALID, "`akidb bench` needs one of: ann, load, kernels")
                   : ak_fail(err, AK_INVALID, "`akidb bench %s`: allowed are ann, load, kernels",
                             argv[0]);
    }
    (void)printf("Usage: akidb bench ann | load | kernels [options]\n\n");
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++) {
        (void)printf("  %-8s %s\n", benches[i].name, benches[i].summary);
    }
    (void)printf("\n`akidb help bench ann` explains one of them.\n");
    return AK_OK;
}

/* bench.h — what the measuring commands share: latencies and their percentiles.
 *
 * A histogram counts microseconds in buckets of 1/64 of a power of two (relative error below 1.6
 * %), so that millions of requests cost nothing to record and can be merged.
 *
 * Threads: a histogram belongs to one thread; merge after joining.
 */
#pragma once
#include "base/err.h"
#include <stdint.h>

#define AK_HISTOGRAM_SUB 64u
#define AK_HISTOGRAM_BUCKETS (AK_HISTOGRAM_SUB * 32u)

struct ak_histogram {
    uint64_t counts[AK_HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t max_ns;
    double sum_seconds;
};

void ak_histogram_add(struct ak_histogram *histogram, int64_t ns);
void ak_histogram_merge(struct ak_histogram *into, const struct ak_histogram *from);
/* Microseconds below which `share` (0..1) of the samples lie; 0 without samples. */
double ak_histogram_us(const struct ak_histogram *histogram, double share);

enum ak_rc ak_bench_ann(int argc, char **argv, struct ak_err *err);
enum ak_rc ak_bench_load(int argc, char **argv, struct ak_err *err);
enum ak_rc ak_bench_kernels(int argc, char **argv, struct ak_err *err);

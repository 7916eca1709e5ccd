/* common.h — what the measuring programs in C share: a clock, .npy rows, threads, percentiles.
 *
 * They print one JSON object on stdout and die with a sentence on stderr. Each is one .c file;
 * support.py compiles them.
 */
#pragma once
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64u

__attribute__((noreturn, format(printf, 1, 2), unused)) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

__attribute__((unused)) static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((unused)) static uint32_t number(const char *text, const char *name, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value == 0 || value > max) {
        die("%s is \"%s\"; it takes a whole number from 1 to %u", name, text, max);
    }
    return (uint32_t)value;
}

/* --- Vectors: f32[rows, dimension] of a .npy, mapped --- */

struct rows {
    const float *data;
    uint32_t count;
    uint32_t dimension;
};

__attribute__((unused)) static struct rows map_npy(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size < 16) {
        die("cannot read %s", path);
    }
    const char *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) {
        die("cannot map %s", path);
    }
    close(fd);
    uint16_t head = 0;
    memcpy(&head, bytes + 8, sizeof head);
    struct rows rows = {.data = (const float *)(const void *)(bytes + 10 + head)};
    char text[512];
    (void)snprintf(text, sizeof text, "%.*s", head, bytes + 10);
    const char *shape = strstr(text, "'shape': (");
    if (!strstr(text, "'<f4'") || !shape ||
        sscanf(shape, "'shape': (%u, %u)", &rows.count, &rows.dimension) != 2 ||
        10u + head + (uint64_t)rows.count * rows.dimension * 4 > (uint64_t)info.st_size) {
        die("%s is not a whole f32 .npy of two dimensions", path);
    }
    return rows;
}

__attribute__((unused)) static const float *row(const struct rows *rows, uint64_t i)
{
    return rows->data + i % rows->count * rows->dimension;
}

/* --- Threads that start together; each measures the calls it makes --- */

struct worker {
    void *ctx; /* the program's own */
    uint32_t number;
    double deadline; /* stop at this time */
    uint64_t done;
    float *took; /* seconds of each call, kept up to took_max */
    uint64_t took_max;
    void (*run)(struct worker *self);
    pthread_t thread;
};

__attribute__((unused)) static void note(struct worker *self, double began)
{
    if (self->done < self->took_max) {
        self->took[self->done] = (float)(now() - began);
    }
    self->done++;
}

static void *enter(void *arg)
{
    struct worker *self = arg;
    self->run(self);
    return NULL;
}

/* Processor time of all threads so far, in seconds: what a busy machine does not distort. */
__attribute__((unused)) static double cpu_seconds(void)
{
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Run `count` workers for so many seconds; returns the seconds that really went by. */
__attribute__((unused)) static double run_workers(struct worker *workers, uint32_t count,
                                                  double seconds, void (*run)(struct worker *),
                                                  void *ctx)
{
    double began = now();
    for (uint32_t i = 0; i < count; i++) {
        workers[i] = (struct worker){.ctx = ctx,
                                     .number = i,
                                     .deadline = began + seconds,
                                     .took = calloc(1u << 20, sizeof(float)),
                                     .took_max = 1u << 20,
                                     .run = run};
        if (!workers[i].took || pthread_create(&workers[i].thread, NULL, enter, &workers[i]) != 0) {
            die("cannot start a thread");
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        (void)pthread_join(workers[i].thread, NULL);
    }
    return now() - began;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

/* "calls":…,"per_second":…,"ms_p50":…,"ms_p99":…,"ms_max":… of all workers together. */
__attribute__((unused)) static void print_calls(const struct worker *workers, uint32_t count,
                                                double seconds)
{
    uint64_t calls = 0;
    uint64_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct worker *w = &workers[i];
        calls += w->done;
        kept += w->done < w->took_max ? w->done : w->took_max;
    }
    float *all = calloc(kept + 1, sizeof *all);
    if (!all) {
        die("no memory");
    }
    uint64_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct worker *w = &workers[i];
        uint64_t own = w->done < w->took_max ? w->done : w->took_max;
        memcpy(all + n, w->took, own * sizeof *all);
        n += own;
    }
    qsort(all, n, sizeof *all, compare_floats);
    (void)printf("\"calls\":%llu,\"seconds\":%.3f,\"per_second\":%.1f,\"ms_p50\":%.4f,"
                 "\"ms_p99\":%.4f,\"ms_max\":%.4f",
                 (unsigned long long)calls, seconds, (double)calls / seconds,
                 1e3 * (double)all[n / 2], 1e3 * (double)all[n ? n * 99 / 100 : 0],
                 1e3 * (double)all[n ? n - 1 : 0]);
    free(all);
}

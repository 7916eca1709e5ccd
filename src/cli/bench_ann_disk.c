/* bench_ann_disk.c — `bench ann --vectors disk`: the same index once its vectors are in a file.
 *
 * The curve before is of the index in memory. Then its image is written to a file in TMPDIR, the
 * vectors are taken from it as a checkpoint does, and the curve is measured again with the file in
 * the page cache. Last, one thread puts queries each of which finds no page of the file in memory.
 */
#include "base/mem.h"
#include "base/slab.h"
#include "cli/bench_ann.h"
#include "index/image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define COLD_QUERIES 200u

/* Bytes of this process's memory that are its own, or pages of files. */
static void read_resident(struct ak_ann_resident *resident)
{
    char line[256];
    FILE *status = fopen("/proc/self/status", "re");
    *resident = (struct ak_ann_resident){0};
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            resident->own = strtoull(line + 8, NULL, 10) << 10;
        } else if (strncmp(line, "RssFile:", 8) == 0) {
            resident->files = strtoull(line + 8, NULL, 10) << 10;
        }
    }
    if (status) {
        (void)fclose(status);
    }
}

static enum ak_rc write_image(struct ak_ann *b, const char *path, struct ak_err *err)
{
    struct ak_image_writer *writer = NULL;
    enum ak_rc rc = ak_image_create_file(ak_fs_posix(), path, &writer, err);
    if (rc == AK_OK) {
        rc = ak_index_write(b->index, writer, err);
        if (rc != AK_OK) {
            ak_image_abort(writer);
        }
    }
    return rc == AK_OK ? ak_image_commit(writer, NULL, err) : rc;
}

/* As a checkpoint does. *fd: the file, which has no name any more. */
static enum ak_rc take_rows(struct ak_ann *b, int *fd, struct ak_err *err)
{
    const char *tmp = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe): nobody sets it here
    char path[4096];
    struct ak_image *image = NULL;
    struct ak_slab_switch to = {0};
    int len = snprintf(path, sizeof path, "%s/akidb-bench-%d.akx", tmp ? tmp : "/tmp", getpid());
    if (len < 0 || (size_t)len >= sizeof path) {
        return ak_fail(err, AK_INVALID, "TMPDIR is too long a path");
    }
    enum ak_rc rc = ak_index_freeze(b->index, err);
    if (rc != AK_OK) {
        return rc;
    }
    rc = write_image(b, path, err);
    rc = rc == AK_OK ? ak_image_open_file(ak_fs_posix(), path, &image, err) : rc;
    rc = rc == AK_OK ? ak_index_switch_begin(b->index, image, &to, err) : rc;
    rc = rc == AK_OK ? ak_index_switch_end(b->index, &to, err) : rc;
    ak_image_close(image);
    ak_index_unfreeze(b->index);
    (void)ak_epoch_collect(b->epoch); /* nobody reads: the memory goes now */
    if (rc == AK_OK) {
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        rc = *fd >= 0 ? AK_OK : ak_fail_errno(err, errno, "open %s", path);
    }
    (void)unlink(path);
    return rc;
}

/* That this thread has had read from disk. */
static double read_kib(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (double)usage.ru_inblock / 2.0 : 0.0;
}

/* Queries of which each finds the file's pages neither mapped nor in the page cache. */
static enum ak_rc measure_cold(struct ak_ann *b, int fd, uint32_t ef, struct ak_ann_cold *cold,
                               struct ak_err *err)
{
    struct ak_histogram *latency = ak_zalloc(sizeof *latency);
    uint32_t count = b->query.count < COLD_QUERIES ? b->query.count : COLD_QUERIES;
    double began_kib = read_kib();
    enum ak_rc rc = AK_OK;
    for (uint32_t q = 0; q < count && rc == AK_OK; q++) {
        const struct ak_index_query query = {.vector =
                                                 b->query.rows + (size_t)q * b->query.dimension,
                                             .k = (uint32_t)b->o.k,
                                             .ef = ef};
        uint32_t n = 0;
        ak_index_let_go(b->index);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        int64_t began = ak_mono_ns(ak_clock_system());
        unsigned token = ak_epoch_enter(b->epoch);
        rc = ak_index_search(b->index, &query, b->hits, &n, NULL, err);
        ak_epoch_leave(b->epoch, token);
        ak_histogram_add(latency, ak_mono_ns(ak_clock_system()) - began);
    }
    *cold = (struct ak_ann_cold){.p50_us = ak_histogram_us(latency, 0.5),
                                 .p95_us = ak_histogram_us(latency, 0.95),
                                 .p99_us = ak_histogram_us(latency, 0.99),
                                 .read_kib = (read_kib() - began_kib) / count};
    ak_free(latency);
    return rc;
}

enum ak_rc ak_ann_measure_disk(struct ak_ann *b, struct ak_err *err)
{
    int fd = -1;
    if (b->vectors != AK_VECTORS_DISK) {
        return AK_OK;
    }
    read_resident(&b->in_ram);
    enum ak_rc rc = take_rows(b, &fd, err);
    if (rc != AK_OK) {
        return ak_wrap(err, rc, "vectors on disk");
    }
    ak_index_settle(b->index);
    ak_index_memory(b->index, &b->memory_after);
    ak_index_let_go(b->index);
    read_resident(&b->on_disk_at_first);
    rc = ak_ann_measure(b, &b->all, &b->on_disk, err);
    read_resident(&b->on_disk_used);
    for (size_t i = 0; i < b->ef_count && rc == AK_OK; i++) {
        rc = measure_cold(b, fd, b->efs[i], &b->cold[i], err);
    }
    (void)close(fd);
    return rc;
}

static double a_vector(const struct ak_ann *b, uint64_t bytes)
{
    return (double)bytes / b->base.count;
}

void ak_ann_print_disk(const struct ak_ann *b)
{
    const struct ak_index_memory *m = &b->memory_after;
    double raw = (double)b->base.dimension * sizeof(float);
    double now = a_vector(b, m->vectors + m->codes + m->links + m->rest);
    (void)printf(
        "\nvectors on disk: %.0f bytes a vector in memory, %.3f of the floats (codes %.0f, "
        "links %.0f, vectors %.0f, rest %.0f); %.0f mapped\n",
        now, now / raw, a_vector(b, m->codes), a_vector(b, m->links), a_vector(b, m->vectors),
        a_vector(b, m->rest), a_vector(b, m->files));
    (void)printf("the process's own memory fell by %.0f bytes a vector; of files %.0f are mapped "
                 "after the queries\n",
                 a_vector(b, b->in_ram.own - b->on_disk_at_first.own),
                 a_vector(b, b->on_disk_used.files - b->on_disk_at_first.files));
    for (size_t i = 0; i < b->ef_count; i++) {
        const struct ak_ann_point *was = &b->fresh.points[i];
        const struct ak_ann_point *is = &b->on_disk.points[i];
        (void)printf(
            "ef %4u  recall %.4f (%.4f in memory)  QPS %.0f (%.3f of in memory)  p99 %.0f us"
            "  cold p50 %.0f us, p95 %.0f us, p99 %.0f us, %.0f KiB read\n",
            is->ef, is->recall, was->recall, is->qps, is->qps / was->qps, is->p99_us,
            b->cold[i].p50_us, b->cold[i].p95_us, b->cold[i].p99_us, b->cold[i].read_kib);
    }
}

void ak_ann_json_disk(const struct ak_ann *b)
{
    const struct ak_index_memory *m = &b->memory_after;
    (void)printf(",\"on_disk\":{\"bytes_per_vector\":%.1f,\"codes\":%.1f,\"links\":%.1f,"
                 "\"vectors\":%.1f,\"rest\":%.1f,\"mapped\":%.1f,\"anonymous_freed\":%.1f,"
                 "\"mapped_used\":%.1f,\"points\":[",
                 a_vector(b, m->vectors + m->codes + m->links + m->rest), a_vector(b, m->codes),
                 a_vector(b, m->links), a_vector(b, m->vectors), a_vector(b, m->rest),
                 a_vector(b, m->files), a_vector(b, b->in_ram.own - b->on_disk_at_first.own),
                 a_vector(b, b->on_disk_used.files - b->on_disk_at_first.files));
    for (size_t i = 0; i < b->ef_count; i++) {
        const struct ak_ann_point *p = &b->on_disk.points[i];
        (void)printf(
            "%s{\"ef\":%u,\"recall\":%.5f,\"qps\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
            "\"cold_p50_us\":%.1f,\"cold_p95_us\":%.1f,\"cold_p99_us\":%.1f,\"cold_kib\":%.1f}",
            i ? "," : "", p->ef, p->recall, p->qps, p->p50_us, p->p99_us, b->cold[i].p50_us,
            b->cold[i].p95_us, b->cold[i].p99_us, b->cold[i].read_kib);
    }
    (void)printf("]}");
}

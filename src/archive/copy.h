/* copy.h — all snapshots of one store into another: a replica, or a move from a folder to a bucket.
 *
 * Order:  of each snapshot data and image first, and its metadata object only when both are there:
 *         what the other store lists is whole, wherever the copying stops.
 * Again:  what is there with the same size and SHA-256 is not sent, so a copy that was broken off
 *         goes on where it stopped, and one that is repeated brings what is new. Nothing is
 * removed. Proof:  the bytes that are sent were held against the SHA-256 in the metadata: damage
 * does not spread. A snapshot that is damaged or incomplete at the source is a failure of its own
 *         and stops no other.
 * What is no snapshot's (unfinished ones, foreign names) stays where it is.
 *
 * Threads: one call; the callback comes from several, one at a time. Memory: 1 MiB, and 32 bytes a
 * snapshot. Disk: objects of a store that has no files pass through `stage`, at most 256 MiB or one
 * snapshot's at a time.
 */
#pragma once
#include "metrics/metrics.h"
#include "objstore/objstore.h"
#include <stdbool.h>

enum ak_copy_result {
    AK_COPY_COPIED,
    AK_COPY_THERE, /* it was there already */
    AK_COPY_FAILED
};
const char *ak_copy_result_name(enum ak_copy_result result); /* "copied" "there" "failed" */

struct ak_copy_object {
    struct ak_str key;
    uint64_t bytes;
    enum ak_copy_result result;
    enum ak_rc rc;       /* of a failure */
    const char *message; /* and why; "" without one */
};

struct ak_copy_options {
    struct ak_objstore *from, *to;
    const char *stage;            /* a folder that exists */
    unsigned concurrency;         /* uploads at a time; 0: 10 */
    uint32_t delay_ms;            /* before an upload is tried again; 0: as upload.h says */
    bool by_size;                 /* what is there with the same size counts as the same, unread */
    struct ak_metrics *metrics;   /* of the uploader; may be NULL */
    const struct ak_clock *clock; /* NULL: the system's */
    /* Each object once, when it is known what became of it; `done` of `total` bytes are dealt with.
     * May be NULL. */
    void (*on_object)(void *ctx, const struct ak_copy_object *object, uint64_t done,
                      uint64_t total);
    void *ctx;
};

struct ak_copy_report {
    uint64_t snapshots, snapshots_failed;
    uint64_t copied, there, failed; /* objects */
    uint64_t bytes_copied;
};

/* AK_OK: every snapshot of `from` is in `to`. Else the first failure's code, and how many snapshots
 * failed; *report is filled in either case. */
AK_MUST enum ak_rc ak_archive_copy(const struct ak_copy_options *options,
                                   struct ak_copy_report *report, struct ak_err *err);

/* upload.h — many objects into a store: several at once, in batches, and none lost on the way.
 *
 * Parallel:  an upload starts as soon as one of `concurrency` threads is free.
 * Batched:   uploads are collected until there are batch_objects of them, or batch_bytes, or the
 *            first has waited for batch_ms, whichever comes first; then they start together.
 * Failures:  one that fails stops no other. It has `attempts` (beyond the store's own retries), as
 *            long as its code says that another may help; then it is a dead letter: it is kept,
 *            with its bytes or its path, and handed over by ak_upload_close(), in the order in
 *            which the uploads were given.
 * Results:   each upload has exactly one result, told by on_result when it is known; for a dead
 *            letter that is its last attempt.
 * Bounds:    bytes held are at most memory_max, or one upload's: a put waits for room. Dead letters
 *            count too, so with a store that refuses all, puts fail with its code rather than wait
 *            for ever.
 * Order:     none between uploads; two of one key must not be under way at once.
 *
 * Threads: any call from any thread, close from one. The callbacks come from the uploader's
 * threads, several at once, with no lock held; they may call progress and cancel.
 * Memory: keys, bytes and paths are copied; a file must stay until its result.
 */
#pragma once
#include "metrics/metrics.h"
#include "objstore/objstore.h"

#define AK_UPLOAD_CONCURRENCY_MAX 256
#define AK_UPLOAD_ATTEMPTS_MAX 100
#define AK_UPLOAD_DELAY_MAX_MS 60000

struct ak_uploader;

struct ak_upload_result {
    struct ak_str key;
    struct ak_str bytes; /* of an upload from memory */
    const char *path;    /* of an upload from a file, else NULL */
    uint64_t size;       /* bytes; 0 for a file that could not be looked at */
    void *tag;           /* as given */
    enum ak_rc rc;
    const char *message; /* of the failure; "" when there is none */
    unsigned attempts;   /* 0: cancelled before the first */
    int64_t took_us;     /* all attempts and the waits between them */
};

/* What the result borrows is valid during the call. */
typedef void (*ak_upload_fn)(void *ctx, const struct ak_upload_result *result);

struct ak_upload_options { /* all zero: parallel, with every default */
    unsigned concurrency;  /* threads; 0: 10 */
    size_t batch_objects;  /* 0: parallel, the two below are not looked at; 1..memory allows */
    size_t batch_bytes;    /* 0: no bound but memory_max */
    uint32_t batch_ms;     /* 0: no bound: only size, flush and close start a batch */
    size_t memory_max;     /* bytes of uploads held, dead letters included; 0: 64 MiB */
    unsigned attempts;     /* of each upload; 0: 3 */
    uint32_t delay_ms;     /* before the second attempt, doubled for each further; 0: 200 */
    const struct ak_clock *clock; /* for batch_ms, delays and took_us; NULL: the system's */
    struct ak_metrics *metrics;   /* may be NULL */
    ak_upload_fn on_result;       /* may be NULL */
    ak_upload_fn on_dead_letter;  /* may be NULL: then only close says that there were some */
    void *ctx;
};

/* 100 objects, 10 MB (10^7 bytes) or 1 s, whichever comes first. */
struct ak_upload_options ak_upload_batched(void);

AK_MUST enum ak_rc ak_upload_open(struct ak_objstore *store,
                                  const struct ak_upload_options *options,
                                  struct ak_uploader **uploader, struct ak_err *err);

/* Queue an upload. AK_OK: it will have a result. AK_INVALID: the key. AK_TOO_BIG: more than
 * memory_max. AK_UNAVAILABLE: the memory is full of dead letters, or the uploader was cancelled. */
AK_MUST enum ak_rc ak_upload_put(struct ak_uploader *uploader, struct ak_str key,
                                 struct ak_str bytes, void *tag, struct ak_err *err);
AK_MUST enum ak_rc ak_upload_put_file(struct ak_uploader *uploader, struct ak_str key,
                                      struct ak_fs *fs, const char *path, void *tag,
                                      struct ak_err *err);

/* Start what is collected, and wait until all that was given before has its result. */
void ak_upload_flush(struct ak_uploader *uploader);
/* What has not started is a dead letter with AK_CONFLICT "cancelled"; files under way stop there
 * too. Returns at once; close waits. */
void ak_upload_cancel(struct ak_uploader *uploader);
/* Look at the clock again: for tests, after they have moved it. */
void ak_upload_poll(struct ak_uploader *uploader);

struct ak_upload_progress {
    uint64_t objects; /* given so far */
    uint64_t bytes;
    uint64_t objects_done; /* with a result, failed ones too */
    uint64_t objects_failed;
    uint64_t bytes_done; /* in the store, files under way in part */
    uint64_t batches;    /* started so far */
};
void ak_upload_progress(struct ak_uploader *uploader, struct ak_upload_progress *progress);

/* Flush, hand over the dead letters, stop the threads, free. AK_OK: everything is in the store;
 * otherwise the code of the first dead letter, and a message that says how many there were. NULL is
 * fine. */
AK_MUST enum ak_rc ak_upload_close(struct ak_uploader *uploader, struct ak_err *err);

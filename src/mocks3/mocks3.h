/* mocks3.h — a server that speaks S3, in this process: for tests without a network.
 *
 * Buckets, objects, multipart uploads, signatures and conditions as S3 has them; what it does not
 * speak it refuses with 501 NotImplemented (docs/mock-s3.md is the list). Under /_mock/ it is told
 * to fail: slowly, with errors, in the middle of a body, or by never answering. Objects are in
 * memory, or below a folder that the next start continues from.
 *
 * Not for production: nothing is synced to the disk, /_mock/ asks for no password, and without an
 * access key everyone may do everything.
 *
 * Threads: it runs on its own; the calls below from any, close once. Memory: options are copied.
 */
#pragma once
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

struct ak_mocks3;

struct ak_mocks3_options {  /* all zero but for `listen` is the default */
    const char *listen;     /* "127.0.0.1:9000", ":0" (any free port) */
    const char *root;       /* keep everything below this folder; NULL: in memory */
    const char *access_key; /* NULL: signatures are not checked */
    const char *secret_key; /* goes with access_key */
    const char *region;     /* what signatures and buckets must be of; NULL: any */
    const char *domain;     /* "bucket.<domain>" names a bucket; NULL: "localhost" */
    const char *buckets;    /* made at the start unless they are there: "a,b" */
    uint64_t bytes_max;     /* of everything kept; 0: 4 GiB in memory, no limit below a folder */
    unsigned loops;         /* threads that serve; 0: one a core */
    const struct ak_clock *clock; /* NULL: the system's */
    struct ak_fs *fs;             /* NULL: the system's */
    struct ak_log *log;
};

AK_MUST enum ak_rc ak_mocks3_open(const struct ak_mocks3_options *options,
                                  struct ak_mocks3 **server, struct ak_err *err);
uint16_t ak_mocks3_port(const struct ak_mocks3 *server);
/* Finish requests under way (at most grace_ms; those that a rule holds are reset), free. NULL is
 * fine. */
void ak_mocks3_close(struct ak_mocks3 *server, uint32_t grace_ms);

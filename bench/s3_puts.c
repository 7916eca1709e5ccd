/* s3_puts.c — objects a second through the uploader, in parallel and in batches.
 *
 *   s3_puts [COUNT [BYTES [THREADS [DIR]]]]      2000 objects of 65536 bytes by 10 threads
 *
 * The store is the S3 bucket that AKIDB_S3_ENDPOINT, _BUCKET, _REGION, _ACCESS_KEY_ID and
 * _SECRET_ACCESS_KEY name (tests/integration/s3_servers.py start NAME prints them), or the dir
 * store below DIR. Prints a line per way: name, objects a second, MB a second. The plan's bars: 600
 * in parallel, 500 in batches. Every object is counted in a listing afterwards, then removed.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "objstore/s3.h"
#include "upload/upload.h"
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void give_up(const char *what, const struct ak_err *err)
{
    (void)fprintf(stderr, "s3_puts: %s: %s\n", what, err->text);
    exit(1);
}

static uint64_t number(int argc, char **argv, int at, uint64_t when_absent)
{
    uint64_t value = when_absent;
    if (at < argc && !ak_str_u64(ak_str_of(argv[at]), 1u << 30, &value)) {
        (void)fprintf(stderr, "s3_puts: '%s' is no number\n", argv[at]);
        exit(2);
    }
    return value;
}

static struct ak_objstore *open_store(const char *dir, unsigned threads)
{
    struct ak_objstore *store = NULL;
    struct ak_err err;
    struct ak_s3_options options = {
        .endpoint = getenv("AKIDB_S3_ENDPOINT"),
        .bucket = getenv("AKIDB_S3_BUCKET"),
        .region = getenv("AKIDB_S3_REGION"),
        .access_key_id = getenv("AKIDB_S3_ACCESS_KEY_ID"),
        .secret_access_key = getenv("AKIDB_S3_SECRET_ACCESS_KEY"),
        .connections_max = threads,
    };
    enum ak_rc rc = dir ? ak_objstore_open_dir(ak_fs_posix(), dir, &store, &err)
                        : ak_objstore_open_s3(&options, false, &store, &err);
    if (rc != AK_OK) {
        give_up("open", &err);
    }
    return store;
}

/* Count the objects below `prefix`, and remove them. */
static uint64_t sweep(struct ak_objstore *store, const char *prefix)
{
    uint64_t seen = 0;
    for (size_t count = 1000; count == 1000;) {
        struct ak_arena arena;
        struct ak_object *objects = NULL;
        struct ak_err err;
        ak_arena_init(&arena, 0);
        if (ak_objstore_list(store, ak_str_of(prefix), AK_STR(""), 1000, &arena, &objects, &count,
                             &err) != AK_OK) {
            give_up("list", &err);
        }
        for (size_t i = 0; i < count; i++, seen++) {
            if (ak_objstore_remove(store, objects[i].key, &err) != AK_OK) {
                give_up("remove", &err);
            }
        }
        ak_arena_release(&arena);
    }
    return seen;
}

static void measure(struct ak_objstore *store, const char *name, struct ak_upload_options options,
                    uint64_t count, struct ak_str bytes)
{
    struct ak_uploader *uploader = NULL;
    struct ak_err err;
    const struct ak_clock *clock = ak_clock_system();
    int64_t began = ak_mono_ns(clock);
    if (ak_upload_open(store, &options, &uploader, &err) != AK_OK) {
        give_up("open", &err);
    }
    for (uint64_t i = 0; i < count; i++) {
        char key[64];
        int len = snprintf(key, sizeof key, "%s/%06llu.bin", name, (unsigned long long)i);
        if (ak_upload_put(uploader, (struct ak_str){key, (size_t)len}, bytes, NULL, &err) !=
            AK_OK) {
            give_up("put", &err);
        }
    }
    if (ak_upload_close(uploader, &err) != AK_OK) {
        give_up("upload", &err);
    }
    double seconds = (double)(ak_mono_ns(clock) - began) / 1e9;
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "%s/", name);
    uint64_t seen = sweep(store, prefix);
    (void)printf("%-9s %7.0f puts/s %7.1f MB/s\n", name, (double)count / seconds,
                 (double)count * (double)bytes.len / seconds / 1e6);
    if (seen != count) {
        (void)fprintf(stderr, "s3_puts: %llu of %llu objects are there\n", (unsigned long long)seen,
                      (unsigned long long)count);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    uint64_t count = number(argc, argv, 1, 2000);
    size_t len = (size_t)number(argc, argv, 2, 65536);
    unsigned threads = (unsigned)number(argc, argv, 3, 10);
    struct ak_objstore *store = open_store(argc > 4 ? argv[4] : NULL, threads);
    char *bytes = ak_alloc(len + 1);
    ak_random_bytes(bytes, len);
    struct ak_upload_options parallel = {.concurrency = threads};
    struct ak_upload_options batched = ak_upload_batched();
    batched.concurrency = threads;
    (void)printf("%s: %llu objects of %zu bytes, %u threads\n", ak_objstore_name(store),
                 (unsigned long long)count, len, threads);
    measure(store, "parallel", parallel, count, (struct ak_str){bytes, len});
    measure(store, "batched", batched, count, (struct ak_str){bytes, len});
    ak_free(bytes);
    ak_objstore_close(store);
    return 0;
}

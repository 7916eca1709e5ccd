/* s3_tool.c — the S3 store from a command line, for tests against real servers and for bench/.
 *
 *   s3_tool put FILE KEY | get KEY FILE | write FILE KEY | cat KEY | head KEY | rm KEY | list
 * PREFIX put-new KEY TEXT             only if absent puts COUNT SIZE THREADS KEY  COUNT objects
 * KEY-0…; prints seconds and puts/s gets COUNT SIZE THREADS KEY  the same objects back, compared
 *
 * The store is what AKIDB_S3_ENDPOINT, _BUCKET, _REGION, _PREFIX, _ACCESS_KEY_ID,
 * _SECRET_ACCESS_KEY, _CA_FILE, _VIRTUAL_HOST, _UNSIGNED_PAYLOAD, _MULTIPART_BYTES, _RETRIES_MAX,
 * _STALL_MS, _DEADLINE_MS and _CONNECTIONS say. Prints the error's code and text on stderr; exit 1
 * then.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "objstore/s3.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_CHUNK ((size_t)1 << 20)
#define THREADS_MAX 64

struct bench {
    struct ak_objstore *store;
    const char *key;
    char *bytes;
    size_t size;
    uint32_t count;
    bool reads;
    _Atomic uint32_t next;
    _Atomic uint32_t failed;
};

static const char *setting(const char *name)
{
    char full[64];
    (void)snprintf(full, sizeof full, "AKIDB_S3_%s", name);
    const char *value = getenv(full);
    return value && value[0] ? value : NULL;
}

static uint64_t number(const char *text, uint64_t when_absent)
{
    uint64_t value = when_absent;
    if (text && !ak_str_u64(ak_str_of(text), UINT32_MAX, &value)) {
        (void)fprintf(stderr, "'%s' is no number\n", text);
        exit(2);
    }
    return value;
}

static enum ak_rc open_store(struct ak_log *log, struct ak_objstore **store, struct ak_err *err)
{
    const struct ak_s3_options options = {
        .endpoint = setting("ENDPOINT"),
        .region = setting("REGION"),
        .bucket = setting("BUCKET"),
        .prefix = setting("PREFIX"),
        .access_key_id = setting("ACCESS_KEY_ID"),
        .secret_access_key = setting("SECRET_ACCESS_KEY"),
        .ca_file = setting("CA_FILE"),
        .virtual_host = setting("VIRTUAL_HOST") != NULL,
        .unsigned_payload = setting("UNSIGNED_PAYLOAD") != NULL,
        .multipart_bytes = number(setting("MULTIPART_BYTES"), 0),
        .retries_max = (uint32_t)number(setting("RETRIES_MAX"), 0),
        .stall_timeout_ms = (uint32_t)number(setting("STALL_MS"), 0),
        .deadline_ms = (uint32_t)number(setting("DEADLINE_MS"), 0),
        .connections_max = (uint32_t)number(setting("CONNECTIONS"), 0),
        .log = log};
    return ak_objstore_open_s3(&options, setting("LAZY") != NULL, store, err);
}

static enum ak_rc write_stream(struct ak_objstore *store, const char *path, struct ak_str key,
                               struct ak_err *err)
{
    struct ak_objstore_writer *writer = NULL;
    FILE *file = fopen(path, "rb");
    if (!file) {
        return ak_fail(err, AK_NOT_FOUND, "no file '%s'", path);
    }
    char *chunk = ak_alloc(READ_CHUNK);
    enum ak_rc rc = ak_objstore_create(store, key, NULL, &writer, err);
    size_t got = 0;
    while (rc == AK_OK && (got = fread(chunk, 1, READ_CHUNK, file)) > 0) {
        rc = ak_objstore_write(writer, chunk, got, err);
    }
    if (rc == AK_OK) {
        rc = ak_objstore_commit(writer, NULL, err);
    } else {
        ak_objstore_abort(writer);
    }
    ak_free(chunk);
    (void)fclose(file);
    return rc;
}

static enum ak_rc list_all(struct ak_objstore *store, struct ak_str prefix, struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_buf after;
    enum ak_rc rc = AK_OK;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    ak_buf_init(&after, AK_OBJSTORE_KEY_MAX);
    do {
        struct ak_object *objects = NULL;
        ak_arena_reset(&arena);
        rc = ak_objstore_list(store, prefix, ak_buf_str(&after), 1000, &arena, &objects, &count,
                              err);
        for (size_t i = 0; rc == AK_OK && i < count; i++) {
            (void)printf("%llu %.*s\n", (unsigned long long)objects[i].size,
                         AK_STR_ARG(objects[i].key));
        }
        if (rc == AK_OK && count) {
            ak_buf_clear(&after);
            ak_buf_add_str(&after, objects[count - 1].key);
        }
    } while (rc == AK_OK && count == 1000);
    ak_arena_release(&arena);
    ak_buf_release(&after);
    return rc;
}

static void bench_thread(void *arg)
{
    struct bench *bench = arg;
    struct ak_err err;
    struct ak_buf back;
    ak_buf_init(&back, 0);
    for (;;) {
        char key[AK_OBJSTORE_KEY_MAX];
        uint32_t i = atomic_fetch_add(&bench->next, 1);
        if (i >= bench->count) {
            break;
        }
        (void)snprintf(key, sizeof key, "%s-%u", bench->key, i);
        const struct ak_str bytes = {bench->bytes, bench->size};
        enum ak_rc rc = AK_OK;
        if (bench->reads) {
            ak_buf_clear(&back);
            rc = ak_objstore_get(bench->store, ak_str_of(key), &back, &err);
            if (rc == AK_OK && !ak_str_eq(ak_buf_str(&back), bytes)) {
                rc = ak_fail(&err, AK_CORRUPT, "'%s' came back otherwise", key);
            }
        } else {
            rc = ak_objstore_put(bench->store, ak_str_of(key), bytes, NULL, &err);
        }
        if (rc != AK_OK) {
            (void)fprintf(stderr, "%s: %s\n", ak_rc_name(rc), err.text);
            atomic_fetch_add(&bench->failed, 1);
        }
    }
    ak_buf_release(&back);
}

static enum ak_rc run_bench(struct ak_objstore *store, bool reads, char **argv, struct ak_err *err)
{
    struct bench bench = {.store = store, .key = argv[5], .reads = reads};
    struct ak_thread threads[THREADS_MAX] = {{.started = false}};
    struct ak_rand rand;
    uint64_t thread_count = number(argv[4], 1);
    bench.count = (uint32_t)number(argv[2], 1);
    bench.size = (size_t)number(argv[3], 1);
    bench.bytes = ak_alloc(bench.size + 8);
    ak_rand_seed(&rand, 1);
    for (size_t i = 0; i < bench.size; i += 8) {
        uint64_t word = ak_rand_u64(&rand);
        memcpy(bench.bytes + i, &word, sizeof word);
    }
    enum ak_rc rc = AK_OK;
    int64_t start_ns = ak_mono_ns(ak_clock_system());
    for (uint64_t i = 0; rc == AK_OK && i < thread_count && i < THREADS_MAX; i++) {
        rc = ak_thread_start(&threads[i], "bench", bench_thread, &bench, err);
    }
    for (size_t i = 0; i < THREADS_MAX; i++) {
        ak_thread_join(&threads[i]);
    }
    double seconds = (double)(ak_mono_ns(ak_clock_system()) - start_ns) / 1e9;
    (void)printf("%.3f s %.1f/s %u failed\n", seconds, bench.count / seconds,
                 atomic_load(&bench.failed));
    ak_free(bench.bytes);
    return rc == AK_OK && atomic_load(&bench.failed) ? ak_fail(err, AK_IO, "some failed") : rc;
}

static enum ak_rc show(struct ak_objstore *store, const char *what, struct ak_str key,
                       struct ak_err *err)
{
    struct ak_arena arena;
    struct ak_object object;
    struct ak_buf out;
    ak_arena_init(&arena, 0);
    ak_buf_init(&out, 0);
    enum ak_rc rc = AK_OK;
    if (strcmp(what, "head") == 0) {
        rc = ak_objstore_head(store, key, &arena, &object, err);
        if (rc == AK_OK) {
            (void)printf("%llu %lld %.*s\n", (unsigned long long)object.size,
                         (long long)object.modified_us, AK_STR_ARG(object.etag));
        }
    } else {
        rc = ak_objstore_get(store, key, &out, err);
        if (rc == AK_OK && out.len) {
            (void)fwrite(out.p, 1, out.len, stdout);
        }
    }
    ak_arena_release(&arena);
    ak_buf_release(&out);
    return rc;
}

static enum ak_rc run(struct ak_objstore *store, int argc, char **argv, struct ak_err *err)
{
    const char *what = argv[1];
    struct ak_fs *fs = ak_fs_posix();
    const struct ak_objstore_put_options fresh = {.only_if_absent = true};
    if (argc == 4 && strcmp(what, "put") == 0) {
        return ak_objstore_put_file(store, ak_str_of(argv[3]), fs, argv[2], NULL, NULL, err);
    }
    if (argc == 4 && strcmp(what, "get") == 0) {
        return ak_objstore_get_file(store, ak_str_of(argv[2]), fs, argv[3], NULL, NULL, err);
    }
    if (argc == 4 && strcmp(what, "write") == 0) {
        return write_stream(store, argv[2], ak_str_of(argv[3]), err);
    }
    if (argc == 4 && strcmp(what, "put-new") == 0) {
        return ak_objstore_put(store, ak_str_of(argv[2]), ak_str_of(argv[3]), &fresh, err);
    }
    if (argc == 3 && strcmp(what, "rm") == 0) {
        return ak_objstore_remove(store, ak_str_of(argv[2]), err);
    }
    if (argc == 3 && strcmp(what, "list") == 0) {
        return list_all(store, ak_str_of(argv[2]), err);
    }
    if (argc == 3 && (strcmp(what, "head") == 0 || strcmp(what, "cat") == 0)) {
        return show(store, what, ak_str_of(argv[2]), err);
    }
    if (argc == 6 && (strcmp(what, "puts") == 0 || strcmp(what, "gets") == 0)) {
        return run_bench(store, what[0] == 'g', argv, err);
    }
    return ak_fail(err, AK_INVALID, "see the top of s3_tool.c for the commands");
}

int main(int argc, char **argv)
{
    struct ak_err err;
    struct ak_objstore *store = NULL;
    if (argc < 2) {
        (void)fprintf(stderr,
                      "usage: s3_tool put|get|write|cat|head|rm|list|put-new|puts|gets …\n");
        return 2;
    }
    struct ak_log *log = ak_log_open(2, AK_LOG_WARN, AK_LOG_TEXT);
    enum ak_rc rc = open_store(log, &store, &err);
    rc = rc == AK_OK ? run(store, argc, argv, &err) : rc;
    if (rc != AK_OK) {
        (void)fprintf(stderr, "%s: %s\n", ak_rc_name(rc), err.text);
    }
    ak_objstore_close(store);
    ak_log_close(log);
    return rc != AK_OK;
}

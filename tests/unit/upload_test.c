/* upload_test.c — batches, bounds, failures and dead letters of the uploader, over stores that
 * fail, wait or refuse. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/sync.h"
#include "support/test.h"
#include "upload/upload.h"
#include <stdlib.h>
#include <unistd.h>

static struct ak_err err;

#define RESULTS_MAX 4096

/* What the callbacks were told. */
struct told {
    pthread_mutex_t mutex;
    size_t results;
    size_t failed;
    size_t dead;
    unsigned attempts[RESULTS_MAX]; /* by tag */
    unsigned seen[RESULTS_MAX];
    size_t dead_tags[RESULTS_MAX];
    char dead_text[RESULTS_MAX][16];
    enum ak_rc dead_rc;
};

static struct told told;

static void on_result(void *ctx, const struct ak_upload_result *result)
{
    struct told *to = ctx;
    (void)pthread_mutex_lock(&to->mutex);
    size_t tag = (size_t)(uintptr_t)result->tag;
    to->results++;
    to->failed += result->rc != AK_OK;
    to->attempts[tag] = result->attempts;
    to->seen[tag]++;
    (void)pthread_mutex_unlock(&to->mutex);
}

static void on_dead_letter(void *ctx, const struct ak_upload_result *result)
{
    struct told *to = ctx;
    to->dead_tags[to->dead] = (size_t)(uintptr_t)result->tag;
    (void)snprintf(to->dead_text[to->dead], sizeof to->dead_text[0], "%.*s",
                   AK_STR_ARG(result->bytes));
    to->dead_rc = result->rc;
    to->dead++;
}

struct bed {
    struct ak_objstore *mem;
    struct ak_objstore *fault;
    struct ak_manual_clock clock;
    struct ak_uploader *up;
};

static void set_rule(struct bed *bed, enum ak_objstore_fault fault, int64_t nth, bool sticky,
                     uint32_t latency_us, const char *prefix)
{
    struct ak_objstore_fault_rule rule = {.fault = fault,
                                          .nth = nth,
                                          .sticky = sticky,
                                          .latency_us = latency_us,
                                          .key_prefix = prefix};
    ak_objstore_fault_set(bed->fault, &rule);
}

static void bed_open(struct bed *bed, struct ak_upload_options options)
{
    memset(&told, 0, sizeof told);
    CHECK(pthread_mutex_init(&told.mutex, NULL) == 0);
    *bed = (struct bed){0};
    ak_manual_clock_init(&bed->clock, 1000000);
    CHECK_OK(ak_objstore_open_mem(NULL, &bed->mem, &err));
    CHECK_OK(ak_objstore_open_fault(bed->mem, &bed->fault, &err));
    options.on_result = on_result;
    options.on_dead_letter = on_dead_letter;
    options.ctx = &told;
    CHECK_OK(ak_upload_open(bed->fault, &options, &bed->up, &err));
}

static void bed_close(struct bed *bed)
{
    ak_objstore_close(bed->fault);
    ak_objstore_close(bed->mem);
    (void)pthread_mutex_destroy(&told.mutex);
}

static void put_one(struct bed *bed, const char *prefix, size_t n)
{
    char key[64];
    char bytes[64];
    int key_len = snprintf(key, sizeof key, "%s%04zu", prefix, n);
    int len = snprintf(bytes, sizeof bytes, "bytes %zu", n);
    CHECK_OK(ak_upload_put(bed->up, (struct ak_str){key, (size_t)key_len},
                           (struct ak_str){bytes, (size_t)len}, (void *)(uintptr_t)n, &err));
}

static size_t count_objects(struct bed *bed)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(
        ak_objstore_list(bed->mem, AK_STR(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    for (size_t i = 0; i < count; i++) {
        struct ak_buf out;
        char want[64];
        ak_buf_init(&out, 0);
        (void)snprintf(want, sizeof want, "bytes %zu",
                       (size_t)strtoul(objects[i].key.p + objects[i].key.len - 4, NULL, 10));
        CHECK_OK(ak_objstore_get(bed->mem, objects[i].key, &out, &err));
        CHECK_STR(ak_buf_cstr(&out), want);
        ak_buf_release(&out);
    }
    ak_arena_release(&arena);
    return count;
}

static struct ak_upload_progress progress_of(struct bed *bed)
{
    struct ak_upload_progress progress;
    ak_upload_progress(bed->up, &progress);
    return progress;
}

TEST(upload, everything_given_is_in_the_store_after_a_flush_with_one_result_each)
{
    struct bed bed;
    bed_open(&bed, (struct ak_upload_options){0});
    for (size_t i = 0; i < 500; i++) {
        put_one(&bed, "k/", i);
    }
    ak_upload_flush(bed.up);
    CHECK_INT(told.results, 500);
    CHECK_INT(count_objects(&bed), 500);
    for (size_t i = 0; i < 500; i++) {
        CHECK(told.seen[i] == 1 && told.attempts[i] == 1);
    }
    struct ak_upload_progress progress = progress_of(&bed);
    CHECK_INT(progress.objects, 500);
    CHECK_INT(progress.objects_done, 500);
    CHECK_INT(progress.objects_failed, 0);
    CHECK_INT(progress.bytes_done, progress.bytes);
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(told.dead, 0);
    bed_close(&bed);
}

TEST(upload, as_many_run_at_once_as_the_options_say_and_no_more)
{
    struct bed bed;
    bed_open(&bed, (struct ak_upload_options){.concurrency = 4});
    set_rule(&bed, AK_OBJSTORE_FAULT_NONE, -1, false, 20000, NULL);
    for (size_t i = 0; i < 16; i++) {
        put_one(&bed, "k/", i);
    }
    /* Calls are counted as they begin: with four threads, the fifth begins after a first result. */
    uint64_t most = 0;
    while (progress_of(&bed).objects_done < 16) {
        uint64_t begun = ak_objstore_fault_calls(bed.fault, AK_OBJSTORE_OP_PUT);
        uint64_t done = progress_of(&bed).objects_done;
        CHECK(begun <= done + 4);
        most = begun > done + most ? begun - done : most;
    }
    CHECK(most >= 2);
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(count_objects(&bed), 16);
    bed_close(&bed);
}

TEST(upload, a_batch_starts_at_its_number_of_objects)
{
    struct bed bed;
    struct ak_upload_options options = ak_upload_batched();
    CHECK_INT(options.batch_objects, 100);
    CHECK_INT(options.batch_bytes, 10000000);
    options.clock = ak_clock_system();
    options.batch_ms = 0;
    bed_open(&bed, options);
    for (size_t i = 0; i < 99; i++) {
        put_one(&bed, "k/", i);
    }
    CHECK_INT(progress_of(&bed).batches, 0);
    CHECK_INT(ak_objstore_fault_calls(bed.fault, 0), 0);
    put_one(&bed, "k/", 99);
    CHECK_INT(progress_of(&bed).batches, 1);
    put_one(&bed, "k/", 100);
    CHECK_INT(progress_of(&bed).batches, 1);
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(count_objects(&bed), 101);
    bed_close(&bed);
}

TEST(upload, a_batch_starts_at_its_bytes)
{
    struct bed bed;
    struct ak_upload_options options = ak_upload_batched();
    options.batch_ms = 0;
    bed_open(&bed, options);
    size_t len = 2500000;
    char *bytes = ak_zalloc(len);
    for (size_t i = 0; i < 4; i++) {
        char key[16];
        CHECK_INT(progress_of(&bed).batches, 0);
        (void)snprintf(key, sizeof key, "big/%zu", i);
        CHECK_OK(ak_upload_put(bed.up, ak_str_of(key), (struct ak_str){bytes, len},
                               (void *)(uintptr_t)i, &err));
    }
    CHECK_INT(progress_of(&bed).batches, 1);
    ak_upload_flush(bed.up);
    CHECK_INT(told.results, 4);
    CHECK_OK(ak_upload_close(bed.up, &err));
    ak_free(bytes);
    bed_close(&bed);
}

TEST(upload, a_batch_starts_when_its_first_has_waited_long_enough)
{
    struct bed bed;
    struct ak_manual_clock clock;
    struct ak_upload_options options = ak_upload_batched();
    ak_manual_clock_init(&clock, 1000000);
    options.clock = &clock.clock;
    bed_open(&bed, options);
    put_one(&bed, "k/", 0);
    ak_manual_clock_advance(&clock, 999000);
    ak_upload_poll(bed.up);
    put_one(&bed, "k/", 1);
    CHECK_INT(progress_of(&bed).batches, 0);
    ak_manual_clock_advance(&clock, 1000);
    ak_upload_poll(bed.up);
    while (progress_of(&bed).objects_done < 2) {
        (void)usleep(100);
    }
    CHECK_INT(progress_of(&bed).batches, 1);
    CHECK_INT(count_objects(&bed), 2);
    CHECK_OK(ak_upload_close(bed.up, &err));
    bed_close(&bed);
}

TEST(upload, a_flush_starts_a_batch_that_is_not_full)
{
    struct bed bed;
    struct ak_upload_options options = ak_upload_batched();
    options.batch_ms = 0;
    bed_open(&bed, options);
    put_one(&bed, "k/", 0);
    ak_upload_flush(bed.up);
    CHECK_INT(count_objects(&bed), 1);
    ak_upload_flush(bed.up); /* of nothing */
    CHECK_INT(progress_of(&bed).batches, 1);
    CHECK_OK(ak_upload_close(bed.up, &err));
    bed_close(&bed);
}

TEST(upload, one_that_fails_stops_no_other_and_comes_back_at_the_end)
{
    struct bed bed;
    bed_open(&bed, (struct ak_upload_options){0});
    set_rule(&bed, AK_OBJSTORE_FAULT_DENIED_403, -1, false, 0, "bad/");
    for (size_t i = 0; i < 300; i++) {
        put_one(&bed, i % 50 == 7 ? "bad/" : "good/", i);
    }
    CHECK_RC(AK_FORBIDDEN, ak_upload_close(bed.up, &err));
    CHECK(strstr(err.text, "6 of 300") && strstr(err.text, "403"));
    CHECK_INT(told.results, 300);
    CHECK_INT(told.failed, 6);
    CHECK_INT(told.dead, 6);
    CHECK_INT(told.dead_rc, AK_FORBIDDEN);
    for (size_t i = 0; i < 6; i++) {
        char want[16];
        size_t tag = 7 + 50 * i;
        (void)snprintf(want, sizeof want, "bytes %zu", tag);
        CHECK_INT(told.dead_tags[i], tag); /* in the order in which they were given */
        CHECK_STR(told.dead_text[i], want);
        CHECK_INT(told.attempts[tag], 1); /* 403: another attempt cannot help */
    }
    CHECK_INT(count_objects(&bed), 294);
    bed_close(&bed);
}

TEST(upload, what_can_pass_is_tried_again_after_longer_and_longer_delays)
{
    struct bed bed;
    struct ak_manual_clock clock;
    ak_manual_clock_init(&clock, 1000000);
    bed_open(&bed, (struct ak_upload_options){
                       .concurrency = 1, .clock = &clock.clock, .attempts = 4, .delay_ms = 100});
    set_rule(&bed, AK_OBJSTORE_FAULT_SLOW_503, -1, false, 0, NULL);
    put_one(&bed, "k/", 0);
    static const int64_t delays_us[] = {100000, 200000, 400000};
    for (size_t i = 0; i < 3; i++) {
        while (ak_objstore_fault_calls(bed.fault, AK_OBJSTORE_OP_PUT) < i + 1) {
            (void)usleep(100);
        }
        if (i == 2) {
            set_rule(&bed, AK_OBJSTORE_FAULT_NONE, -1, false, 0, NULL);
        }
        /* The attempt may not be settled yet: move on until the next has begun. Never before. */
        ak_manual_clock_advance(&clock, delays_us[i] - 1000);
        ak_upload_poll(bed.up);
        CHECK_INT(ak_objstore_fault_calls(bed.fault, AK_OBJSTORE_OP_PUT), i + 1);
        while (ak_objstore_fault_calls(bed.fault, AK_OBJSTORE_OP_PUT) < i + 2) {
            ak_manual_clock_advance(&clock, 1000);
            ak_upload_poll(bed.up);
            (void)usleep(100);
        }
    }
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(told.attempts[0], 4);
    CHECK_INT(count_objects(&bed), 1);
    bed_close(&bed);
}

TEST(upload, every_kind_of_failure_ends_in_the_store_or_in_a_dead_letter)
{
    static const enum ak_objstore_fault faults[] = {
        AK_OBJSTORE_FAULT_ERROR_500, AK_OBJSTORE_FAULT_SLOW_503, AK_OBJSTORE_FAULT_DENIED_403,
        AK_OBJSTORE_FAULT_TIMEOUT,   AK_OBJSTORE_FAULT_RESET,    AK_OBJSTORE_FAULT_LOST_ANSWER};
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            struct bed bed;
            bed_open(&bed, (struct ak_upload_options){.attempts = 2, .delay_ms = 1});
            set_rule(&bed, faults[f], 20, sticky, 0, NULL);
            for (size_t i = 0; i < 60; i++) {
                put_one(&bed, "k/", i);
            }
            enum ak_rc rc = ak_upload_close(bed.up, &err);
            CHECK((rc == AK_OK) == (told.dead == 0));
            CHECK_INT(told.results, 60);
            CHECK_INT(told.dead, told.failed);
            bool is_in_any_case = faults[f] == AK_OBJSTORE_FAULT_LOST_ANSWER;
            CHECK_INT(count_objects(&bed) + (is_in_any_case ? 0 : told.dead), 60);
            CHECK(sticky ? told.dead >= 20
                         : told.dead == (faults[f] == AK_OBJSTORE_FAULT_DENIED_403));
            bed_close(&bed);
        }
    }
}

TEST(upload, a_put_waits_for_room_and_bytes_held_stay_below_the_bound)
{
    struct bed bed;
    bed_open(&bed, (struct ak_upload_options){.concurrency = 2, .memory_max = 4000});
    char bytes[1000] = {0};
    for (size_t i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k/%04zu", i);
        CHECK_OK(ak_upload_put(bed.up, ak_str_of(key), (struct ak_str){bytes, sizeof bytes},
                               (void *)(uintptr_t)i, &err));
        struct ak_upload_progress progress = progress_of(&bed);
        CHECK(progress.objects - progress.objects_done <= 3); /* with what it costs to hold them */
    }
    CHECK_RC(AK_TOO_BIG,
             ak_upload_put(bed.up, AK_STR("k"), (struct ak_str){bytes, 5000}, NULL, &err));
    CHECK(strstr(err.text, "memory_max"));
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(told.results, 200);
    bed_close(&bed);
}

TEST(upload, a_store_that_refuses_all_fails_the_puts_instead_of_blocking_them)
{
    struct bed bed;
    struct ak_upload_options options = ak_upload_batched();
    options.memory_max = 20000;
    bed_open(&bed, options);
    set_rule(&bed, AK_OBJSTORE_FAULT_DENIED_403, -1, false, 0, NULL);
    char bytes[1000] = {0};
    size_t given = 0;
    enum ak_rc rc = AK_OK;
    while (rc == AK_OK) {
        rc = ak_upload_put(bed.up, AK_STR("k"), (struct ak_str){bytes, sizeof bytes},
                           (void *)(uintptr_t)given, &err);
        given += rc == AK_OK;
        CHECK(given < 30);
    }
    CHECK_INT(rc, AK_UNAVAILABLE);
    CHECK(strstr(err.text, "failed uploads") && strstr(err.text, "403"));
    CHECK_RC(AK_FORBIDDEN, ak_upload_close(bed.up, &err));
    CHECK_INT(told.dead, given);
    bed_close(&bed);
}

TEST(upload, files_go_up_and_a_missing_one_is_a_dead_letter)
{
    struct bed bed;
    char path[1024];
    struct ak_buf out;
    size_t len = 1u << 20;
    char *bytes = ak_zalloc(len);
    (void)snprintf(path, sizeof path, "%s/file", ak_test_dir());
    memset(bytes, 'f', len);
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, (struct ak_str){bytes, len}, &err));
    bed_open(&bed, (struct ak_upload_options){0});
    CHECK_OK(ak_upload_put_file(bed.up, AK_STR("a"), ak_fs_posix(), path, (void *)1, &err));
    CHECK_OK(ak_upload_put_file(bed.up, AK_STR("b"), ak_fs_posix(), "/nowhere/x", (void *)2, &err));
    ak_upload_flush(bed.up);
    struct ak_upload_progress progress = progress_of(&bed);
    CHECK_INT(progress.bytes_done, len);
    CHECK_INT(progress.objects_failed, 1);
    CHECK_RC(AK_INVALID, ak_upload_close(bed.up, &err));
    CHECK(strstr(err.text, "/nowhere/x"));
    CHECK_INT(told.dead_tags[0], 2);
    ak_buf_init(&out, 0);
    CHECK_OK(ak_objstore_get(bed.mem, AK_STR("a"), &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), (struct ak_str){bytes, len}));
    ak_buf_release(&out);
    ak_free(bytes);
    bed_close(&bed);
}

TEST(upload, what_is_cancelled_before_it_began_is_a_dead_letter)
{
    struct bed bed;
    struct ak_upload_options options = ak_upload_batched();
    options.batch_ms = 0;
    bed_open(&bed, options);
    for (size_t i = 0; i < 50; i++) {
        put_one(&bed, "k/", i);
    }
    ak_upload_cancel(bed.up);
    CHECK_RC(AK_UNAVAILABLE, ak_upload_put(bed.up, AK_STR("k"), AK_STR("x"), NULL, &err));
    CHECK_RC(AK_CONFLICT, ak_upload_close(bed.up, &err));
    CHECK(strstr(err.text, "50 of 50") && strstr(err.text, "cancelled"));
    CHECK_INT(told.dead, 50);
    CHECK_INT(told.attempts[3], 0);
    CHECK_INT(count_objects(&bed), 0);
    bed_close(&bed);
}

TEST(upload, a_file_under_way_stops_when_it_is_cancelled_and_leaves_nothing)
{
    struct bed bed;
    char path[1024];
    size_t len = 9u << 20;
    char *bytes = ak_zalloc(len);
    (void)snprintf(path, sizeof path, "%s/file", ak_test_dir());
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), path, (struct ak_str){bytes, len}, &err));
    bed_open(&bed, (struct ak_upload_options){0});
    struct ak_objstore_fault_rule rule = {.nth = -1, .bytes_per_s = 20000000};
    ak_objstore_fault_set(bed.fault, &rule);
    CHECK_OK(ak_upload_put_file(bed.up, AK_STR("a"), ak_fs_posix(), path, (void *)1, &err));
    while (ak_objstore_fault_calls(bed.fault, AK_OBJSTORE_OP_PUT) == 0) {
        (void)usleep(100);
    }
    ak_upload_cancel(bed.up);
    CHECK_RC(AK_CONFLICT, ak_upload_close(bed.up, &err));
    CHECK(strstr(err.text, "cancelled"));
    CHECK_INT(told.attempts[1], 1);
    CHECK_INT(told.dead, 1);
    CHECK_INT(count_objects(&bed), 0);
    ak_free(bytes);
    bed_close(&bed);
}

TEST(upload, a_want_of_memory_refuses_one_upload_and_loses_none)
{
    struct bed bed;
    bed_open(&bed, (struct ak_upload_options){.attempts = 2, .delay_ms = 1});
    size_t given = 0;
    bool has_fired = true;
    for (int64_t n = 0; has_fired; n++) {
        char key[32];
        char bytes[32];
        int key_len = snprintf(key, sizeof key, "k/%04zu", given);
        int len = snprintf(bytes, sizeof bytes, "bytes %zu", given);
        ak_fault_alloc_at(n);
        enum ak_rc rc =
            ak_upload_put(bed.up, (struct ak_str){key, (size_t)key_len},
                          (struct ak_str){bytes, (size_t)len}, (void *)(uintptr_t)given, &err);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        given += rc == AK_OK;
        ak_upload_flush(bed.up);
        has_fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
    }
    CHECK(given > 0);
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(told.results, given);
    CHECK_INT(count_objects(&bed), given);
    bed_close(&bed);
}

TEST(upload, bad_keys_and_options_are_refused_at_once)
{
    struct bed bed;
    struct ak_uploader *up = NULL;
    bed_open(&bed, (struct ak_upload_options){0});
    CHECK_RC(AK_INVALID, ak_upload_put(bed.up, AK_STR("a//b"), AK_STR("x"), NULL, &err));
    CHECK_RC(AK_INVALID, ak_upload_put_file(bed.up, AK_STR(""), ak_fs_posix(), "x", NULL, &err));
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_RC(AK_INVALID,
             ak_upload_open(bed.mem, &(struct ak_upload_options){.concurrency = 257}, &up, &err));
    CHECK_RC(AK_INVALID,
             ak_upload_open(bed.mem, &(struct ak_upload_options){.attempts = 101}, &up, &err));
    CHECK_OK(ak_upload_close(NULL, &err));
    bed_close(&bed);
}

struct giver {
    struct bed *bed;
    size_t from;
    struct ak_err err;
    enum ak_rc rc;
};

static void give_some(void *arg)
{
    struct giver *giver = arg;
    for (size_t i = giver->from; i < giver->from + 100 && giver->rc == AK_OK; i++) {
        char key[32];
        char bytes[32];
        int key_len = snprintf(key, sizeof key, "k/%04zu", i);
        int len = snprintf(bytes, sizeof bytes, "bytes %zu", i);
        giver->rc =
            ak_upload_put(giver->bed->up, (struct ak_str){key, (size_t)key_len},
                          (struct ak_str){bytes, (size_t)len}, (void *)(uintptr_t)i, &giver->err);
        if (i % 40 == 0) {
            ak_upload_flush(giver->bed->up);
        }
    }
}

TEST(upload, many_threads_may_give_and_flush_at_once)
{
    struct bed bed;
    struct ak_upload_options options = ak_upload_batched();
    options.memory_max = 30000;
    bed_open(&bed, options);
    struct giver givers[6];
    struct ak_thread threads[6] = {0};
    for (size_t i = 0; i < 6; i++) {
        givers[i] = (struct giver){.bed = &bed, .from = 100 * i};
        CHECK_OK(ak_thread_start(&threads[i], "giver", give_some, &givers[i], &err));
    }
    for (size_t i = 0; i < 6; i++) {
        ak_thread_join(&threads[i]);
        CHECK_STR(givers[i].rc ? givers[i].err.text : "", "");
    }
    CHECK_OK(ak_upload_close(bed.up, &err));
    CHECK_INT(told.results, 600);
    CHECK_INT(count_objects(&bed), 600);
    bed_close(&bed);
}

TEST(upload, the_metrics_count_objects_and_bytes)
{
    struct bed bed;
    struct ak_metrics *metrics = ak_metrics_open();
    struct ak_buf text;
    ak_buf_init(&text, 0);
    bed_open(&bed, (struct ak_upload_options){.metrics = metrics});
    set_rule(&bed, AK_OBJSTORE_FAULT_DENIED_403, -1, false, 0, "bad/");
    put_one(&bed, "good/", 1);
    put_one(&bed, "good/", 2);
    put_one(&bed, "bad/", 3);
    CHECK_RC(AK_FORBIDDEN, ak_upload_close(bed.up, &err));
    ak_metrics_render(metrics, &text);
    CHECK(strstr(ak_buf_cstr(&text), "akidb_uploads_total{result=\"ok\"} 2"));
    CHECK(strstr(ak_buf_cstr(&text), "akidb_uploads_total{result=\"failed\"} 1"));
    CHECK(strstr(ak_buf_cstr(&text), "akidb_upload_bytes_total 14"));
    ak_buf_release(&text);
    bed_close(&bed);
    ak_metrics_close(metrics);
}

TEST_MAIN()

/* objstore_guard_test.c — the store with a circuit breaker: the common suite while all is well, and
 * what callers meet when the store under it is away. */
#include "objstore/objstore_guard.h"
#include "support/test.h"
#include <time.h>

#define OBJSTORE_SUITE guard_closed
#define OBJSTORE_SUITE_ROUNDS 500
#define OBJSTORE_SUITE_LARGE ((size_t)20 << 20)

static struct ak_objstore *mem;
static struct ak_objstore *line; /* what fails */
static struct ak_manual_clock now;
static struct ak_metrics *metrics;

static struct ak_objstore *open_guard(bool asks_by_hand)
{
    struct ak_err open_err;
    struct ak_objstore *store = NULL;
    const struct ak_objstore_guard_options options = {
        .service = "s3",
        .clock = asks_by_hand ? &now.clock : NULL,
        .breaker = {.open_ms = asks_by_hand ? 1000 : 1, .open_ms_max = asks_by_hand ? 4000 : 1},
        .metrics = metrics,
        .asks_by_hand = asks_by_hand};
    ak_manual_clock_init(&now, 1000000);
    if (ak_objstore_open_mem(NULL, &mem, &open_err) != AK_OK ||
        ak_objstore_open_fault(mem, &line, &open_err) != AK_OK ||
        ak_objstore_open_guard(line, &options, &store, &open_err) != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "%s", open_err.text);
    }
    return store;
}

static struct ak_objstore *suite_open(void)
{
    return open_guard(false);
}

static void suite_close(struct ak_objstore *store)
{
    ak_objstore_close(store); /* and the line, which does not own the mem store */
    ak_objstore_close(mem);
}

#include "support/objstore_suite.h"

SUITE_CAN_ALL_KEYS

static void set(enum ak_objstore_fault fault, unsigned ops)
{
    const struct ak_objstore_fault_rule rule = {.fault = fault, .ops = ops, .nth = -1};
    ak_objstore_fault_set(line, &rule);
}

static double metric(enum ak_metrics_family family)
{
    const struct ak_str s3 = AK_STR("s3");
    return ak_series_value(ak_metrics_series(metrics, family, &s3, 1));
}

static uint64_t asked(void)
{
    return ak_objstore_fault_calls(line, 0);
}

static struct ak_objstore *begin_by_hand(void)
{
    metrics = ak_metrics_open();
    suite_base[0] = '\0';
    return open_guard(true);
}

static void end_by_hand(struct ak_objstore *store)
{
    suite_close(store);
    ak_metrics_close(metrics);
    metrics = NULL;
}

static enum ak_rc look(struct ak_objstore *store)
{
    struct ak_arena arena;
    struct ak_object object;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_objstore_head(store, key_of("object"), &arena, &object, &err);
    ak_arena_release(&arena);
    return rc;
}

static void make_away(struct ak_objstore *store, enum ak_objstore_fault fault, enum ak_rc rc)
{
    set(fault, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(ak_objstore_away_ms(store), 0);
        CHECK_RC(rc, look(store));
    }
    CHECK_INT(ak_objstore_away_ms(store), 1000);
}

TEST(guard, after_three_failures_calls_fail_at_once_and_say_when_to_try_again)
{
    struct ak_objstore *store = begin_by_hand();
    CHECK_INT(metric(AK_METRIC_BREAKER_STATE), AK_BREAKER_CLOSED);
    make_away(store, AK_OBJSTORE_FAULT_ERROR_500, AK_UNAVAILABLE);
    CHECK_INT(metric(AK_METRIC_BREAKER_STATE), AK_BREAKER_OPEN);
    uint64_t before = asked();
    ak_manual_clock_advance(&now, 400000);
    CHECK_RC(AK_UNAVAILABLE, look(store));
    CHECK(strstr(err.text, "asked again in 1 s") && strstr(err.text, "object"));
    CHECK_INT(err.retry_after_ms, 600);
    CHECK_INT(ak_objstore_away_ms(store), 600);
    CHECK_INT(asked(), before);
    CHECK_INT(metric(AK_METRIC_BREAKER_REFUSED), 1);
    end_by_hand(store);
}

TEST(guard, every_operation_is_refused_while_the_store_is_away_and_leaves_nothing)
{
    struct ak_objstore *store = begin_by_hand();
    struct ak_objstore_writer *writer = NULL;
    struct ak_objstore_writer *none = NULL;
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    struct ak_buf out;
    size_t count = 7;
    char bytes[4];
    ak_arena_init(&arena, 0);
    ak_buf_init(&out, 0);
    struct ak_str key = key_of("object");
    CHECK_OK(ak_objstore_put(store, key, AK_STR("1234"), NULL, &err));
    CHECK_OK(ak_objstore_create(store, key_of("begun"), NULL, &writer, &err));
    CHECK_OK(ak_objstore_write(writer, "12", 2, &err));
    CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), file_of("f"), AK_STR("file"), &err));
    make_away(store, AK_OBJSTORE_FAULT_TIMEOUT, AK_TIMEOUT);
    uint64_t before = asked();
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_get(store, key, &out, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_get_range(store, key, 0, bytes, 4, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_remove(store, key, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_remove_parts(store, key, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_put(store, key_of("new"), AK_STR("1"), NULL, &err));
    CHECK_RC(AK_UNAVAILABLE,
             ak_objstore_list(store, AK_STR(""), AK_STR(""), 9, &arena, &objects, &count, &err));
    CHECK_RC(AK_UNAVAILABLE,
             ak_objstore_get_file(store, key, ak_fs_posix(), file_of("g"), NULL, NULL, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_put_file(store, key_of("new"), ak_fs_posix(), file_of("f"),
                                                  NULL, NULL, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_create(store, key_of("new"), NULL, &none, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_write(writer, "34", 2, &err));
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_commit(writer, NULL, &err));
    CHECK_INT(asked(), before);
    CHECK_INT(metric(AK_METRIC_BREAKER_REFUSED), 10);
    CHECK(!none && count == 7 && out.len == 0 && !file_is_there(file_of("g")));
    check_object(mem, key, AK_STR("1234"));
    CHECK(!is_there(mem, key_of("new")) && !is_there(mem, key_of("begun")));
    ak_arena_release(&arena);
    ak_buf_release(&out);
    end_by_hand(store);
}

TEST(guard, one_question_after_the_pause_closes_it_or_doubles_the_pause)
{
    struct ak_objstore *store = begin_by_hand();
    make_away(store, AK_OBJSTORE_FAULT_SLOW_503, AK_UNAVAILABLE);
    CHECK_RC(AK_UNAVAILABLE, ak_objstore_guard_ask(store, &err)); /* too early */
    const uint32_t pauses_ms[] = {2000, 4000, 4000};
    for (size_t i = 0; i < sizeof pauses_ms / sizeof *pauses_ms; i++) {
        ak_manual_clock_advance(&now, (int64_t)ak_objstore_away_ms(store) * 1000);
        uint64_t before = asked();
        CHECK_RC(AK_UNAVAILABLE, look(store)); /* half-open is not for callers */
        CHECK_INT(asked(), before);
        CHECK_RC(AK_UNAVAILABLE, ak_objstore_guard_ask(store, &err));
        CHECK(strstr(err.text, "503"));
        CHECK_INT(asked(), before + 1);
        CHECK_INT(ak_objstore_away_ms(store), pauses_ms[i]);
    }
    set(AK_OBJSTORE_FAULT_NONE, 0);
    ak_manual_clock_advance(&now, 4000000);
    CHECK_OK(ak_objstore_guard_ask(store, &err));
    CHECK_INT(ak_objstore_away_ms(store), 0);
    CHECK_INT(metric(AK_METRIC_BREAKER_STATE), AK_BREAKER_CLOSED);
    CHECK_RC(AK_NOT_FOUND, look(store));
    make_away(store, AK_OBJSTORE_FAULT_SLOW_503, AK_UNAVAILABLE); /* and the pause is 1 s again */
    end_by_hand(store);
}

TEST(guard, an_answer_that_says_no_is_an_answer)
{
    struct ak_objstore *store = begin_by_hand();
    for (int i = 0; i < 20; i++) {
        set(AK_OBJSTORE_FAULT_DENIED_403, 0);
        CHECK_RC(AK_FORBIDDEN, look(store));
        set(AK_OBJSTORE_FAULT_NONE, 0);
        CHECK_RC(AK_NOT_FOUND, look(store));
    }
    for (int i = 0; i < 9; i++) { /* never three in a row */
        set(i % 3 == 2 ? AK_OBJSTORE_FAULT_DENIED_403 : AK_OBJSTORE_FAULT_ERROR_500, 0);
        CHECK_RC(i % 3 == 2 ? AK_FORBIDDEN : AK_UNAVAILABLE, look(store));
    }
    CHECK_INT(ak_objstore_away_ms(store), 0);
    make_away(store, AK_OBJSTORE_FAULT_RESET, AK_UNAVAILABLE);
    set(AK_OBJSTORE_FAULT_DENIED_403, 0);
    ak_manual_clock_advance(&now, 1000000);
    CHECK_RC(AK_FORBIDDEN, ak_objstore_guard_ask(store, &err));
    CHECK_INT(ak_objstore_away_ms(store), 0);
    end_by_hand(store);
}

TEST(guard, what_the_caller_broke_off_or_only_buffered_says_nothing)
{
    struct ak_objstore *store = begin_by_hand();
    struct ak_objstore_writer *writer = NULL;
    CHECK_OK(ak_objstore_create(store, key_of("begun"), NULL, &writer, &err));
    set(AK_OBJSTORE_FAULT_ERROR_500, AK_OBJSTORE_OP_HEAD);
    CHECK_RC(AK_UNAVAILABLE, look(store));
    CHECK_OK(ak_objstore_write(writer, "12", 2, &err));
    CHECK_RC(AK_UNAVAILABLE, look(store));
    CHECK_RC(AK_INVALID, ak_objstore_put_file(store, key_of("new"), ak_fs_posix(), file_of("none"),
                                              NULL, NULL, &err));
    CHECK_INT(ak_objstore_away_ms(store), 0);
    CHECK_RC(AK_UNAVAILABLE, look(store));
    CHECK_INT(ak_objstore_away_ms(store), 1000);
    ak_objstore_abort(writer);
    end_by_hand(store);
}

/* Waits, without a limit of its own, for what the asker's thread must find out. */
static void await_away(struct ak_objstore *store, bool away)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    while ((ak_objstore_away_ms(store) != 0) != away) {
        (void)nanosleep(&moment, NULL);
    }
}

TEST(guard, the_thread_finds_out_after_one_failed_call_and_when_the_store_is_back)
{
    for (int round = 0; round < 3; round++) {
        struct ak_objstore *store = open_guard(false);
        suite_base[0] = '\0';
        CHECK_RC(AK_NOT_FOUND, look(store));
        set(AK_OBJSTORE_FAULT_TIMEOUT, 0);
        CHECK_RC(AK_TIMEOUT, look(store));
        await_away(store, true);
        CHECK_RC(AK_UNAVAILABLE, look(store));
        if (round < 2) { /* the last is closed while it is away */
            set(AK_OBJSTORE_FAULT_NONE, 0);
            await_away(store, false);
            CHECK_RC(AK_NOT_FOUND, look(store));
        }
        suite_close(store);
    }
}

TEST_MAIN()

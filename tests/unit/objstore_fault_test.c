/* objstore_fault_test.c — the store that fails on purpose: the common suite while it does not, and
 * what each fault leaves. */
#include "objstore/objstore.h"
#include "support/test.h"

#define OBJSTORE_SUITE fault_off
#define OBJSTORE_SUITE_ROUNDS 500
#define OBJSTORE_SUITE_LARGE ((size_t)20 << 20)

static struct ak_objstore *under;

static struct ak_objstore *suite_open(void)
{
    struct ak_err open_err;
    struct ak_objstore *store = NULL;
    char root[1024];
    (void)snprintf(root, sizeof root, "%s/objects", ak_test_dir());
    if (ak_objstore_open_dir(ak_fs_posix(), root, &under, &open_err) != AK_OK ||
        ak_objstore_open_fault(under, &store, &open_err) != AK_OK) {
        ak_test_fail(__FILE__, __LINE__, "%s", open_err.text);
    }
    return store;
}

static void suite_close(struct ak_objstore *store)
{
    ak_objstore_close(store);
    ak_objstore_close(under);
}

#include "support/objstore_suite.h"

SUITE_CAN_ALL_KEYS

static void set(struct ak_objstore *store, enum ak_objstore_fault fault, unsigned ops)
{
    struct ak_objstore_fault_rule rule = {.fault = fault, .ops = ops, .nth = -1};
    ak_objstore_fault_set(store, &rule);
}

static const struct {
    enum ak_objstore_fault fault;
    enum ak_rc rc;
    const char *text;
} kinds[] = {
    {AK_OBJSTORE_FAULT_ERROR_500, AK_UNAVAILABLE, "500"},
    {AK_OBJSTORE_FAULT_SLOW_503, AK_UNAVAILABLE, "503"},
    {AK_OBJSTORE_FAULT_DENIED_403, AK_FORBIDDEN, "403"},
    {AK_OBJSTORE_FAULT_TIMEOUT, AK_TIMEOUT, "in time"},
    {AK_OBJSTORE_FAULT_RESET, AK_UNAVAILABLE, "reset"},
    {AK_OBJSTORE_FAULT_LOST_ANSWER, AK_UNAVAILABLE, "lost"},
};
#define KINDS (sizeof kinds / sizeof *kinds)

TEST(fault, a_failed_call_says_why_and_leaves_its_outputs_alone)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct ak_objstore *store = begin();
        struct ak_arena arena;
        struct ak_object object = {.size = 77};
        struct ak_object *objects = &object;
        struct ak_buf out;
        size_t count = 55;
        char bytes[4];
        ak_arena_init(&arena, 0);
        ak_buf_init(&out, 0);
        struct ak_str key = key_of("object");
        put_bytes(store, "object", AK_STR("1234"));
        set(store, kinds[i].fault, 0);
        CHECK_RC(kinds[i].rc, ak_objstore_get(store, key, &out, &err));
        CHECK(strstr(err.text, kinds[i].text) && strstr(err.text, "object"));
        CHECK_INT(out.len, 0);
        CHECK_RC(kinds[i].rc, ak_objstore_head(store, key, &arena, &object, &err));
        CHECK_INT(object.size, 77);
        CHECK_RC(kinds[i].rc, ak_objstore_get_range(store, key, 0, bytes, 4, &err));
        CHECK_RC(kinds[i].rc, ak_objstore_list(store, key_of(""), AK_STR(""), 10, &arena, &objects,
                                               &count, &err));
        CHECK(objects == &object && count == 55);
        CHECK_RC(kinds[i].rc,
                 ak_objstore_get_file(store, key, ak_fs_posix(), file_of("f"), NULL, NULL, &err));
        CHECK(strstr(err.text, kinds[i].text));
        CHECK(!file_is_there(file_of("f")) && !file_is_there(file_of("f.part")));
        CHECK_INT(ak_objstore_fault_fired(store), 5);
        set(store, AK_OBJSTORE_FAULT_NONE, 0);
        check_object(store, key, AK_STR("1234"));
        CHECK_INT(ak_objstore_fault_fired(store), 0);
        ak_arena_release(&arena);
        ak_buf_release(&out);
        suite_close(store);
    }
}

TEST(fault, of_a_failed_put_nothing_is_there_unless_only_the_answer_was_lost)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct ak_objstore *store = begin();
        struct ak_objstore_writer *writer = NULL;
        bool is_done = kinds[i].fault == AK_OBJSTORE_FAULT_LOST_ANSWER;
        CHECK_OK(ak_fs_write_atomic(ak_fs_posix(), file_of("f"), AK_STR("file"), &err));
        set(store, kinds[i].fault, AK_OBJSTORE_OP_PUT);
        CHECK_RC(kinds[i].rc, ak_objstore_put(store, key_of("put"), AK_STR("1234"), NULL, &err));
        CHECK_RC(kinds[i].rc, ak_objstore_put_file(store, key_of("file"), ak_fs_posix(),
                                                   file_of("f"), NULL, NULL, &err));
        CHECK_RC(kinds[i].rc, ak_objstore_create(store, key_of("created"), NULL, &writer, &err));
        CHECK(is_there(store, key_of("put")) == is_done);
        CHECK(is_there(store, key_of("file")) == is_done);
        CHECK(!is_there(store, key_of("created")));
        /* A writer whose write fails cannot commit; one whose commit fails has not, or has. */
        set(store, AK_OBJSTORE_FAULT_NONE, 0);
        CHECK_OK(ak_objstore_create(store, key_of("written"), NULL, &writer, &err));
        set(store, kinds[i].fault, AK_OBJSTORE_OP_PUT);
        CHECK_RC(kinds[i].rc, ak_objstore_write(writer, "12345", 5, &err));
        set(store, AK_OBJSTORE_FAULT_NONE, 0);
        CHECK_RC(kinds[i].rc, ak_objstore_write(writer, "12345", 5, &err));
        CHECK(strstr(err.text, "earlier write"));
        CHECK_RC(kinds[i].rc, ak_objstore_commit(writer, NULL, &err));
        CHECK(!is_there(store, key_of("written")));
        CHECK_OK(ak_objstore_create(store, key_of("committed"), NULL, &writer, &err));
        CHECK_OK(ak_objstore_write(writer, "12345", 5, &err));
        set(store, kinds[i].fault, AK_OBJSTORE_OP_PUT);
        CHECK_RC(kinds[i].rc, ak_objstore_commit(writer, NULL, &err));
        CHECK(is_there(store, key_of("committed")) == is_done);
        set(store, kinds[i].fault, AK_OBJSTORE_OP_REMOVE);
        put_bytes(store, "kept", AK_STR("1"));
        CHECK_RC(kinds[i].rc, ak_objstore_remove(store, key_of("kept"), &err));
        CHECK(is_there(store, key_of("kept")) == !is_done);
        suite_close(store);
    }
}

TEST(fault, a_rule_takes_its_nth_call_of_its_kind_and_key_and_then_none_or_all)
{
    struct ak_objstore *store = begin();
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "%sa/", suite_base);
    struct ak_objstore_fault_rule rule = {.fault = AK_OBJSTORE_FAULT_ERROR_500,
                                          .ops = AK_OBJSTORE_OP_PUT | AK_OBJSTORE_OP_REMOVE,
                                          .nth = 2,
                                          .key_prefix = prefix};
    ak_objstore_fault_set(store, &rule);
    for (int sticky = 0; sticky < 2; sticky++) {
        put_bytes(store, "a/1", AK_STR("x"));
        put_bytes(store, "b/1", AK_STR("x"));
        CHECK(is_there(store, key_of("a/1")));
        CHECK_OK(ak_objstore_remove(store, key_of("a/1"), &err));
        CHECK_INT(ak_objstore_fault_fired(store), 0);
        CHECK_RC(AK_UNAVAILABLE, ak_objstore_put(store, key_of("a/2"), AK_STR("x"), NULL, &err));
        CHECK_INT(ak_objstore_fault_fired(store), 1);
        put_bytes(store, "b/2", AK_STR("x"));
        CHECK_INT(ak_objstore_put(store, key_of("a/3"), AK_STR("x"), NULL, &err),
                  sticky ? AK_UNAVAILABLE : AK_OK);
        rule.sticky = true;
        ak_objstore_fault_set(store, &rule);
    }
    CHECK_INT(ak_objstore_fault_calls(store, AK_OBJSTORE_OP_PUT), 10);
    CHECK_INT(ak_objstore_fault_calls(store, AK_OBJSTORE_OP_REMOVE), 2);
    CHECK_INT(ak_objstore_fault_calls(store, AK_OBJSTORE_OP_GET | AK_OBJSTORE_OP_HEAD), 2);
    CHECK_INT(ak_objstore_fault_calls(store, 0), 14);
    suite_close(store);
}

TEST(fault, latency_and_speed_take_their_time)
{
    struct ak_objstore *store = begin();
    const struct ak_clock *clock = ak_clock_system();
    char bytes[1000] = {0};
    struct ak_objstore_fault_rule rule = {
        .nth = -1, .latency_us = 5000, .bytes_per_s = 100000, .ops = AK_OBJSTORE_OP_PUT};
    ak_objstore_fault_set(store, &rule);
    int64_t began = ak_mono_ns(clock);
    put_bytes(store, "slow", (struct ak_str){bytes, sizeof bytes});
    CHECK(ak_mono_ns(clock) - began >= 15000000); /* 5 ms and a thousand bytes' 10 ms */
    CHECK_INT(ak_objstore_fault_fired(store), 0);
    check_object(store, key_of("slow"), (struct ak_str){bytes, sizeof bytes});
    suite_close(store);
}

TEST_MAIN()

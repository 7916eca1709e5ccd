/* objstore_mem_test.c — the mem store: the common suite, and its clock. */
#include "objstore/objstore.h"
#include "support/test.h"

#define OBJSTORE_SUITE mem
#define OBJSTORE_SUITE_ROUNDS 2000
#define OBJSTORE_SUITE_LARGE ((size_t)70 << 20)

static struct ak_objstore *suite_open(void)
{
    struct ak_err open_err;
    struct ak_objstore *store = NULL;
    AK_ASSERT(ak_objstore_open_mem(NULL, &store, &open_err) == AK_OK);
    return store;
}

static void suite_close(struct ak_objstore *store)
{
    ak_objstore_close(store);
}

#include "support/objstore_suite.h"

SUITE_CAN_ALL_KEYS

TEST(mem, the_time_of_an_object_is_the_clocks)
{
    struct ak_manual_clock clock;
    struct ak_objstore *store = NULL;
    struct ak_arena arena;
    struct ak_object object;
    ak_manual_clock_init(&clock, 1000);
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_open_mem(&clock.clock, &store, &err));
    CHECK_OK(ak_objstore_put(store, AK_STR("a"), AK_STR("1"), NULL, &err));
    ak_manual_clock_advance(&clock, 500);
    CHECK_OK(ak_objstore_put(store, AK_STR("b"), AK_STR("1"), NULL, &err));
    CHECK_OK(ak_objstore_head(store, AK_STR("a"), &arena, &object, &err));
    CHECK_INT(object.modified_us, 1000);
    CHECK_OK(ak_objstore_head(store, AK_STR("b"), &arena, &object, &err));
    CHECK_INT(object.modified_us, 1500);
    ak_arena_release(&arena);
    ak_objstore_close(store);
    ak_objstore_close(NULL);
}

TEST_MAIN()

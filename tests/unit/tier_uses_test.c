/* Counts of accesses: within their window, over restarts, and with clocks that go wrong. */
#include "base/fault.h"
#include "base/rand.h"
#include "support/test.h"
#include "tier/manager_priv.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define NOON (INT64_C(1735776000) * SECOND)

static struct ak_tier_uses uses;
static struct ak_err err;

static struct ak_tier_view view_of(uint8_t number, uint32_t accesses, int64_t last_us)
{
    struct ak_tier_view view = {.accesses = accesses, .last_access_us = last_us};
    view.id.b[0] = number;
    view.id.b[15] = 1;
    return view;
}

static struct ak_tier_use *enter(const struct ak_tier_view *view, int64_t now_us)
{
    struct ak_tier_use *use = NULL;
    CHECK_OK(ak_tier_uses_enter(&uses, view, HOUR, now_us, &use, &err));
    return use;
}

TEST(tier, accesses_count_within_their_window_and_not_after_it)
{
    ak_tier_uses_init(&uses);
    struct ak_tier_view view = view_of(1, 4, NOON);
    struct ak_tier_use *use = enter(&view, NOON);
    CHECK_INT(ak_tier_use_sum(use, NOON), 4);
    view.accesses = 9;
    view.last_access_us = NOON + HOUR / 2;
    use = enter(&view, NOON + HOUR / 2);
    CHECK_INT(ak_tier_use_sum(use, NOON + HOUR / 2), 9);
    CHECK_INT(ak_tier_use_sum(use, NOON + HOUR + HOUR / 12), 5);
    CHECK_INT(ak_tier_use_sum(use, NOON + 2 * HOUR), 0);
    CHECK_INT(ak_tier_use_from(use, NOON + 2 * HOUR), 0);
    ak_tier_uses_release(&uses);
}

/* A reference that keeps every access; the ring may differ by the twelfth that its edge is in. */
TEST(tier, counts_are_right_to_within_a_twelfth_of_the_window)
{
    enum { STEPS = 3000 };
    static int64_t at[STEPS];
    struct ak_rand rand;
    ak_rand_seed(&rand, ak_test_seed());
    ak_tier_uses_init(&uses);
    int64_t now = NOON;
    for (uint32_t i = 0; i < STEPS; i++) {
        now += (int64_t)(ak_rand_u64(&rand) % (uint64_t)(HOUR / 40));
        at[i] = now;
        struct ak_tier_view view = view_of(1, i + 1, now);
        const struct ak_tier_use *use = enter(&view, now);
        uint32_t least = 0;
        uint32_t most = 0;
        for (uint32_t j = 0; j <= i; j++) {
            least += at[j] > now - HOUR + HOUR / 12;
            most += at[j] > now - HOUR;
        }
        uint32_t sum = ak_tier_use_sum(use, now);
        CHECK(sum >= least && sum <= most);
    }
    ak_tier_uses_release(&uses);
}

TEST(tier, counts_of_a_former_life_go_on)
{
    ak_tier_uses_init(&uses);
    struct ak_tier_view view = view_of(1, 0, NOON - HOUR / 4);
    view.window_from_us = NOON - HOUR / 2;
    view.window_accesses = 7;
    struct ak_tier_use *use = enter(&view, NOON);
    CHECK_INT(ak_tier_use_sum(use, NOON), 7);
    CHECK(!use->changed);
    view.accesses = 2;
    view.last_access_us = NOON;
    use = enter(&view, NOON);
    CHECK_INT(ak_tier_use_sum(use, NOON), 9);
    CHECK(use->changed);
    CHECK_INT(ak_tier_use_sum(use, NOON + HOUR * 3 / 4), 2);

    struct ak_tier_view old = view_of(2, 0, NOON - 2 * HOUR);
    old.window_from_us = NOON - 2 * HOUR;
    old.window_accesses = 7;
    CHECK_INT(ak_tier_use_sum(enter(&old, NOON), NOON), 0);
    ak_tier_uses_release(&uses);
}

TEST(tier, a_counter_that_wraps_and_a_clock_that_goes_back_lose_nothing)
{
    ak_tier_uses_init(&uses);
    struct ak_tier_view view = view_of(1, UINT32_MAX - 1, NOON);
    struct ak_tier_use *use = enter(&view, NOON);
    ak_tier_use_forget(use);
    view.accesses = 3;
    use = enter(&view, NOON);
    CHECK_INT(ak_tier_use_sum(use, NOON), 5);
    view.accesses = 4;
    view.last_access_us = NOON + HOUR; /* from a life whose clock was ahead */
    use = enter(&view, NOON);
    CHECK_INT(ak_tier_use_sum(use, NOON), 6);
    CHECK_INT(ak_tier_use_sum(use, NOON - HOUR), 6);
    ak_tier_uses_release(&uses);
}

TEST(tier, another_window_keeps_the_count)
{
    ak_tier_uses_init(&uses);
    struct ak_tier_view view = view_of(1, 8, NOON);
    struct ak_tier_use *use = enter(&view, NOON);
    CHECK_OK(ak_tier_uses_enter(&uses, &view, 24 * HOUR, NOON, &use, &err));
    CHECK_INT(ak_tier_use_sum(use, NOON + 20 * HOUR), 8);
    CHECK_OK(ak_tier_uses_enter(&uses, &view, 1, NOON, &use, &err)); /* less than twelve µs */
    CHECK_INT(ak_tier_use_sum(use, NOON), 8);
    CHECK_INT(ak_tier_use_sum(use, NOON + SECOND), 0);
    ak_tier_uses_release(&uses);
}

TEST(tier, collections_that_are_gone_are_forgotten_and_the_others_are_not)
{
    enum { ALL = 200 };
    ak_tier_uses_init(&uses);
    uses.scan = 1;
    for (unsigned i = 0; i < ALL; i++) {
        struct ak_tier_view view = view_of((uint8_t)i, i + 1, NOON);
        (void)enter(&view, NOON);
    }
    uses.scan = 2;
    for (unsigned i = 0; i < ALL; i += 4) {
        struct ak_tier_view view = view_of((uint8_t)i, i + 1, NOON);
        (void)enter(&view, NOON);
    }
    ak_tier_uses_sweep(&uses);
    CHECK_INT(uses.count, ALL / 4);
    for (unsigned i = 0; i < ALL; i++) {
        struct ak_tier_view view = view_of((uint8_t)i, i + 1, NOON);
        const struct ak_tier_use *use = ak_tier_uses_find(&uses, &view.id);
        CHECK((use != NULL) == (i % 4 == 0));
        CHECK(!use || ak_tier_use_sum(use, NOON) == i + 1);
    }
    ak_tier_uses_release(&uses);
}

TEST(tier, want_of_memory_leaves_the_counts_as_they_were)
{
    ak_tier_uses_init(&uses);
    for (int64_t nth = 0;; nth++) {
        bool all = true;
        ak_fault_alloc_at(nth);
        for (unsigned i = 0; i < 200; i++) {
            struct ak_tier_view view = view_of((uint8_t)i, i + 1, NOON);
            struct ak_tier_use *use = NULL;
            enum ak_rc rc = ak_tier_uses_enter(&uses, &view, HOUR, NOON, &use, &err);
            CHECK(rc == AK_OK || rc == AK_NOMEM);
            CHECK(rc != AK_OK || ak_tier_use_sum(use, NOON) == i + 1);
            all &= rc == AK_OK;
        }
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        ak_tier_uses_release(&uses);
        CHECK(fired || all);
        if (!fired) {
            break;
        }
    }
}

TEST_MAIN()

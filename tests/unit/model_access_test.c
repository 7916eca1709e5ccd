/* model_access_test.c — counts over a sliding window. */
#include "base/rand.h"
#include "model/access.h"
#include "support/test.h"
#include <pthread.h>
#include <stdatomic.h>

#define WINDOW INT64_C(3600000000)
#define PART (WINDOW / AK_ACCESS_PARTS)
#define BEGIN (INT64_C(1000) * WINDOW)

TEST(access, nothing_was_used_at_first)
{
    struct ak_access access = {0};
    CHECK_INT(ak_access_count(&access, BEGIN, WINDOW), 0);
    CHECK_INT(atomic_load(&access.last_us), 0);
}

TEST(access, uses_count_until_the_window_has_left_them_behind)
{
    struct ak_access access = {0};
    for (int i = 0; i < 10; i++) {
        ak_access_note(&access, BEGIN + i, WINDOW);
    }
    CHECK_INT(ak_access_count(&access, BEGIN + 9, WINDOW), 10);
    CHECK_INT(ak_access_count(&access, BEGIN + WINDOW - PART, WINDOW), 10);
    CHECK_INT(ak_access_count(&access, BEGIN + WINDOW, WINDOW), 0);
    CHECK_INT(atomic_load(&access.last_us), BEGIN + 9);
}

TEST(access, a_long_silence_clears_every_part)
{
    struct ak_access access = {0};
    for (unsigned i = 0; i < AK_ACCESS_PARTS; i++) {
        ak_access_note(&access, BEGIN + i * PART, WINDOW);
    }
    CHECK_INT(ak_access_count(&access, BEGIN + WINDOW - 1, WINDOW), AK_ACCESS_PARTS);
    ak_access_note(&access, BEGIN + 100 * WINDOW + 3 * PART, WINDOW);
    CHECK_INT(ak_access_count(&access, BEGIN + 100 * WINDOW + 3 * PART, WINDOW), 1);
}

TEST(access, a_part_stops_counting_at_its_ceiling)
{
    struct ak_access access = {0};
    for (unsigned i = 0; i < AK_ACCESS_PART_MAX + 100; i++) {
        ak_access_note(&access, BEGIN, WINDOW);
    }
    CHECK_INT(ak_access_count(&access, BEGIN, WINDOW), AK_ACCESS_PART_MAX);
}

TEST(access, counts_lie_between_seven_eighths_of_the_window_and_all_of_it)
{
    enum { USES = 2000 };
    static int64_t uses[USES];
    struct ak_access access = {0};
    struct ak_rand rand;
    int64_t now = BEGIN;
    ak_rand_seed(&rand, ak_test_seed());
    for (int i = 0; i < USES; i++) {
        now += (int64_t)ak_rand_below(&rand, 2 * PART / 3);
        uses[i] = now;
        ak_access_note(&access, now, WINDOW);
        uint32_t whole = 0;
        uint32_t short_of = 0;
        for (int at = 0; at <= i; at++) {
            whole += uses[at] > now - WINDOW;
            short_of += uses[at] > now - (WINDOW - PART);
        }
        uint32_t count = ak_access_count(&access, now, WINDOW);
        CHECK(count >= short_of && count <= whole);
    }
}

static struct ak_access shared;

static void *use_it(void *arg)
{
    for (int i = 0; i < 5000; i++) {
        ak_access_note(&shared, BEGIN, WINDOW);
    }
    return arg;
}

TEST(access, threads_within_one_part_lose_no_use)
{
    pthread_t threads[4];
    ak_access_note(&shared, BEGIN, WINDOW);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, use_it, NULL) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_INT(ak_access_count(&shared, BEGIN, WINDOW), 20001);
}

TEST_MAIN()

/* resil_breaker_test.c — every transition of the circuit breaker, by table and at random. */
#include "base/rand.h"
#include "resil/breaker.h"
#include "support/test.h"

#define MS 1000

/* A script: one letter a step.
 *   s f d   a call that is allowed, and succeeds, fails, says nothing
 *   x       a call that is refused
 *   .       100 ms go by
 *   C O H   the state is closed, open, half-open */
struct row {
    const char *script;
    struct ak_breaker_options options;
};

static const struct row rows[] = {
    {"CsssC", {.failures_max = 3}},
    {"ffCfOx", {.failures_max = 3}},
    {"ffsffCfO", {.failures_max = 3}},
    {"fO.........xO.HsC", {.failures_max = 1, .open_ms = 1000}},
    {"fO.HfO..HfO....HfO........H", {.failures_max = 1, .open_ms = 100, .open_ms_max = 1000}},
    {"fO.HfO.xO.HsCfO.HsC", {.failures_max = 1, .open_ms = 100}},
    {"fO.HfO..HfO..HsC", {.failures_max = 1, .open_ms = 100, .open_ms_max = 200}},
    {"fO.HsHsC", {.failures_max = 1, .open_ms = 100, .probes = 2}},
    {"fO.HsHfO", {.failures_max = 1, .open_ms = 100, .probes = 2}},
    {"fO.HdHsC", {.failures_max = 1, .open_ms = 100}},
    {"sfsfsfsfsCfO", {.failures_max = 9, .calls_min = 10, .failure_percent = 50}},
    {"sfsfsf..........sfsfsfsfsC", {.failures_max = 9, .calls_min = 10, .window_ms = 1000}},
};

static void play(const struct row *row)
{
    struct ak_breaker breaker;
    int64_t now_us = 5000000;
    ak_breaker_init(&breaker, &row->options);
    for (const char *at = row->script; *at; at++) {
        struct ak_breaker_pass pass = {0};
        enum ak_breaker_state state = ak_breaker_state(&breaker, now_us);
        bool good = true;
        switch (*at) {
        case '.':
            now_us += 100 * MS;
            break;
        case 'C':
            good = state == AK_BREAKER_CLOSED;
            break;
        case 'O':
            good = state == AK_BREAKER_OPEN && ak_breaker_wait_ms(&breaker, now_us) > 0;
            break;
        case 'H':
            good = state == AK_BREAKER_HALF_OPEN;
            break;
        case 'x':
            good = !ak_breaker_allow(&breaker, now_us, &pass);
            break;
        default:
            good = ak_breaker_allow(&breaker, now_us, &pass);
            if (*at == 's') {
                ak_breaker_success(&breaker, pass, now_us);
            } else if (*at == 'f') {
                ak_breaker_failure(&breaker, pass, now_us);
            } else {
                ak_breaker_drop(&breaker, pass);
            }
        }
        ak_test_counted();
        if (!good) {
            ak_test_fail(__FILE__, __LINE__, "%s at step %d: state %s", row->script,
                         (int)(at - row->script), ak_breaker_state_name(state));
        }
    }
    ak_breaker_release(&breaker);
}

TEST(breaker, opens_probes_and_closes_as_the_table_says)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        play(&rows[i]);
    }
}

TEST(breaker, an_answer_from_before_it_opened_changes_nothing)
{
    struct ak_breaker breaker;
    struct ak_breaker_pass early = {0};
    struct ak_breaker_pass pass = {0};
    const struct ak_breaker_options options = {.failures_max = 1, .open_ms = 100};
    ak_breaker_init(&breaker, &options);
    CHECK(ak_breaker_allow(&breaker, 0, &early));
    CHECK(ak_breaker_allow(&breaker, 0, &pass));
    ak_breaker_failure(&breaker, pass, 0);
    ak_breaker_success(&breaker, early, 1);
    CHECK(ak_breaker_state(&breaker, 1) == AK_BREAKER_OPEN);
    CHECK(ak_breaker_state(&breaker, 100 * MS) == AK_BREAKER_HALF_OPEN);
    ak_breaker_failure(&breaker, early, 100 * MS);
    CHECK(ak_breaker_state(&breaker, 100 * MS) == AK_BREAKER_HALF_OPEN);
    CHECK(ak_breaker_allow(&breaker, 100 * MS, &pass));
    CHECK(!ak_breaker_allow(&breaker, 100 * MS, &early));
    CHECK(ak_breaker_wait_ms(&breaker, 100 * MS) > 0);
    ak_breaker_success(&breaker, pass, 100 * MS);
    CHECK(ak_breaker_state(&breaker, 100 * MS) == AK_BREAKER_CLOSED);
    CHECK_INT(ak_breaker_opened(&breaker), 1);
    CHECK_INT(ak_breaker_wait_ms(&breaker, 100 * MS), 0);
    ak_breaker_release(&breaker);
}

TEST(breaker, an_operator_opens_it_until_it_is_reset)
{
    struct ak_breaker breaker;
    struct ak_breaker_pass pass = {0};
    ak_breaker_init(&breaker, NULL);
    ak_breaker_trip(&breaker, 0);
    CHECK(!ak_breaker_allow(&breaker, INT64_MAX / 2, &pass));
    CHECK(ak_breaker_wait_ms(&breaker, 7) > 0);
    ak_breaker_reset(&breaker, 0);
    CHECK(ak_breaker_allow(&breaker, 0, &pass));
    ak_breaker_success(&breaker, pass, 0);
    CHECK_STR(ak_breaker_state_name(ak_breaker_state(&breaker, 0)), "closed");
    ak_breaker_release(&breaker);
}

TEST(breaker, never_lets_more_probes_through_than_it_may_whatever_happens)
{
    struct ak_breaker breaker;
    struct ak_rand rand;
    struct ak_breaker_pass held[8];
    unsigned count = 0;
    int64_t now_us = 0;
    const struct ak_breaker_options options = {
        .failures_max = 2, .open_ms = 5, .open_ms_max = 40, .probes = 3};
    ak_rand_seed(&rand, ak_test_seed());
    ak_breaker_init(&breaker, &options);
    for (int i = 0; i < 100000; i++) {
        now_us += (int64_t)ak_rand_below(&rand, 3 * MS);
        if (count < 8 && ak_rand_below(&rand, 2)) {
            count += ak_breaker_allow(&breaker, now_us, &held[count]);
        } else if (count) {
            unsigned which = (unsigned)ak_rand_below(&rand, count);
            struct ak_breaker_pass pass = held[which];
            held[which] = held[--count];
            switch (ak_rand_below(&rand, 3)) {
            case 0:
                ak_breaker_success(&breaker, pass, now_us);
                break;
            case 1:
                ak_breaker_failure(&breaker, pass, now_us);
                break;
            default:
                ak_breaker_drop(&breaker, pass);
            }
        }
        CHECK(breaker.probing <= 3 && breaker.probing + breaker.probed <=
                                          3 + (breaker.state != AK_BREAKER_HALF_OPEN ? 3u : 0u));
    }
    CHECK(breaker.opened > 10);
    ak_breaker_release(&breaker);
}

TEST_MAIN()

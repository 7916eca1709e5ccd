/* net_loop_test.c — the event loop: timers on a clock that the test moves, posts, descriptors. */
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "net/loop.h"
#include "support/test.h"
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

struct alarm {
    struct ak_loop_timer timer;
    struct ak_loop *loop;
    int64_t want_ms; /* when it should fire; 0: not set */
    int fired;
    bool was_early;
};

static void on_alarm(struct ak_loop_timer *timer)
{
    struct alarm *alarm = (struct alarm *)(void *)timer;
    alarm->was_early |= ak_loop_now_ms(alarm->loop) < alarm->want_ms || alarm->want_ms == 0;
    alarm->want_ms = 0;
    alarm->fired++;
}

static void set(struct alarm *alarm, int64_t in_ms)
{
    alarm->want_ms = ak_loop_now_ms(alarm->loop) + in_ms;
    ak_loop_timer_set(alarm->loop, &alarm->timer, in_ms);
}

TEST(loop, timers_fire_once_never_early_and_late_by_at_most_a_tick)
{
    struct ak_err err;
    struct ak_manual_clock clock;
    struct ak_loop *loop = NULL;
    struct alarm alarm = {.timer.fn = on_alarm};
    ak_manual_clock_init(&clock, 1000000);
    CHECK_OK(ak_loop_open(&clock.clock, &loop, &err));
    alarm.loop = loop;
    const int64_t waits[] = {1, 7, 8, 100, 8191, 8192, 8193, 75000, 3600000};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        set(&alarm, waits[i]);
        int64_t from = ak_loop_now_ms(loop);
        int before = alarm.fired;
        while (alarm.fired == before) {
            ak_manual_clock_advance(&clock, 1000);
            ak_loop_turn(loop, 0);
            CHECK(ak_loop_now_ms(loop) <= from + waits[i] + 16);
        }
        CHECK(!alarm.was_early);
    }
    ak_manual_clock_advance(&clock, 100000000);
    ak_loop_turn(loop, 0);
    CHECK_INT(alarm.fired, sizeof waits / sizeof waits[0]);
    ak_loop_timer_drop(loop, &alarm.timer);
    ak_loop_close(loop);
}

enum { ALARMS = 200 };

TEST(loop, timers_set_again_put_off_and_dropped_at_random_fire_as_a_model_says)
{
    struct ak_err err;
    struct ak_manual_clock clock;
    struct ak_loop *loop = NULL;
    struct ak_rand rand;
    static struct alarm alarms[ALARMS];
    memset(alarms, 0, sizeof alarms);
    ak_rand_seed(&rand, ak_test_seed());
    ak_manual_clock_init(&clock, 5000000);
    CHECK_OK(ak_loop_open(&clock.clock, &loop, &err));
    for (int i = 0; i < ALARMS; i++) {
        alarms[i].timer.fn = on_alarm;
        alarms[i].loop = loop;
    }
    for (int step = 0; step < 20000; step++) {
        struct alarm *alarm = &alarms[ak_rand_below(&rand, ALARMS)];
        uint64_t what = ak_rand_below(&rand, 10);
        if (what < 6) {
            set(alarm, 1 + (int64_t)ak_rand_below(&rand, what < 3 ? 100 : 40000));
        } else if (what == 6) {
            alarm->want_ms = 0;
            ak_loop_timer_cancel(&alarm->timer);
        } else if (what == 7) {
            alarm->want_ms = 0;
            ak_loop_timer_drop(loop, &alarm->timer);
        } else {
            ak_manual_clock_advance(&clock, (int64_t)ak_rand_below(&rand, 400000));
            ak_loop_turn(loop, 0);
        }
        for (int i = 0; i < ALARMS && what > 7; i++) {
            CHECK(!alarms[i].was_early);
            CHECK(alarms[i].want_ms == 0 || alarms[i].want_ms + 16 > ak_loop_now_ms(loop));
        }
    }
    for (int i = 0; i < ALARMS; i++) {
        ak_loop_timer_drop(loop, &alarms[i].timer);
    }
    ak_loop_close(loop);
}

enum { POSTERS = 4, POSTS = 20000 };

struct note {
    struct ak_loop_post post;
    int poster;
    int number;
};

struct inbox {
    struct ak_loop *loop;
    int next[POSTERS];
    int total;
    bool in_order;
    bool on_loop;
};

struct poster {
    struct inbox *inbox;
    struct note *notes;
    struct ak_thread thread;
};

static struct inbox inbox;

static void on_note(struct ak_loop_post *post)
{
    struct note *note = (struct note *)(void *)post;
    inbox.in_order &= inbox.next[note->poster]++ == note->number;
    inbox.on_loop &= ak_loop_is_current(inbox.loop);
    if (++inbox.total == POSTERS * POSTS) {
        ak_loop_stop(inbox.loop);
    }
}

static void run_poster(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < POSTS; i++) {
        ak_loop_post(poster->inbox->loop, &poster->notes[i].post);
    }
}

TEST(loop, posts_from_many_threads_all_run_in_each_ones_order_and_wake_the_loop)
{
    struct ak_err err;
    static struct poster posters[POSTERS];
    inbox = (struct inbox){.in_order = true, .on_loop = true};
    CHECK_OK(ak_loop_open(ak_clock_system(), &inbox.loop, &err));
    for (int i = 0; i < POSTERS; i++) {
        posters[i] =
            (struct poster){.inbox = &inbox, .notes = ak_zalloc(POSTS * sizeof(struct note))};
        for (int j = 0; j < POSTS; j++) {
            posters[i].notes[j] = (struct note){{on_note, NULL}, i, j};
        }
        CHECK_OK(ak_thread_start(&posters[i].thread, "poster", run_poster, &posters[i], &err));
    }
    ak_loop_run(inbox.loop, NULL, NULL); /* returns when the last note has come: none was lost */
    CHECK(inbox.in_order);
    CHECK(inbox.on_loop);
    CHECK(!ak_loop_is_current(inbox.loop));
    for (int i = 0; i < POSTERS; i++) {
        ak_thread_join(&posters[i].thread);
        ak_free(posters[i].notes);
    }
    ak_loop_close(inbox.loop);
}

struct watched {
    struct ak_loop_io io;
    unsigned seen;
};

static void on_io(struct ak_loop_io *io, unsigned events)
{
    ((struct watched *)(void *)io)->seen |= events;
}

TEST(loop, readiness_half_close_and_end_are_reported_once_per_change)
{
    struct ak_err err;
    struct ak_loop *loop = NULL;
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    CHECK_OK(ak_loop_open(ak_clock_system(), &loop, &err));
    struct watched watched = {.io = {on_io, pair[0]}};
    CHECK_OK(ak_loop_add(loop, &watched.io, &err));
    ak_loop_turn(loop, 0);
    CHECK_INT(watched.seen, AK_LOOP_WRITE);
    watched.seen = 0;
    ak_loop_turn(loop, 0);
    CHECK_INT(watched.seen, 0);
    CHECK(write(pair[1], "x", 1) == 1);
    ak_loop_turn(loop, 0);
    CHECK((watched.seen & AK_LOOP_READ) != 0);
    CHECK(shutdown(pair[1], SHUT_WR) == 0);
    ak_loop_turn(loop, 0);
    CHECK((watched.seen & AK_LOOP_HALF) != 0);
    CHECK((watched.seen & AK_LOOP_GONE) == 0);
    (void)close(pair[1]);
    ak_loop_turn(loop, 0);
    CHECK((watched.seen & AK_LOOP_GONE) != 0);
    ak_loop_remove(loop, &watched.io);
    (void)close(pair[0]);
    ak_loop_close(loop);
}

TEST_MAIN()

/* test.h — the test harness: a test's name is a sentence that must hold.
 *
 *   #include "support/test.h"
 *   TEST(wal, replay_stops_at_a_torn_tail)
 *   {
 *       CHECK_OK(ak_wal_open(…, &err));       // an enum ak_rc call; `err` must be in scope
 *       CHECK_RC(AK_CORRUPT, ak_wal_…);       // the call must fail with that code
 *       CHECK(n == 3);
 *       CHECK_INT(n, 3);                      // prints both sides on failure
 *       CHECK_STR(text, "abc");
 *   }
 *   TEST_MAIN()
 *
 * A failed check prints file, line and values, and ends the test (the process goes on with the next
 * test). The program closes with "N passed, N failed" and exits 1 when any failed. Arguments:
 * substrings of the names to run; --list. A test that ends without having made a check fails.
 *
 * Threads: checks from several threads are fine as long as the test's own thread joins them; a
 * failure on another thread aborts the process.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void (*ak_test_fn)(void);
void ak_test_register(const char *suite, const char *name, ak_test_fn fn);
int ak_test_main(int argc, char **argv);
void ak_test_counted(void);
_Noreturn void ak_test_fail(const char *file, int line, const char *fmt, ...) AK_PRINTF(3, 4);
/* Leave the test: what it needs is absent on this machine. Counts as skipped, which CI fails. */
_Noreturn void ak_test_skip(const char *fmt, ...) AK_PRINTF(1, 2);

/* A fresh directory for this test, removed with its contents when the test passes. Borrowed. */
const char *ak_test_dir(void);
/* A path below AKIDB_SHARED (default ../shared); skips the test, saying so, when it is absent. */
const char *ak_test_shared(const char *relative);
/* Seed for random tests: AKIDB_TEST_SEED or from the clock; printed when the test fails. */
uint64_t ak_test_seed(void);

#define TEST(suite, name)                                                                          \
    static void test_##suite##_##name(void);                                                       \
    __attribute__((constructor)) static void register_##suite##_##name(void)                       \
    {                                                                                              \
        ak_test_register(#suite, #name, test_##suite##_##name);                                    \
    }                                                                                              \
    static void test_##suite##_##name(void)

#define TEST_MAIN()                                                                                \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return ak_test_main(argc, argv);                                                           \
    }

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        ak_test_counted();                                                                         \
        if (!(cond)) {                                                                             \
            ak_test_fail(__FILE__, __LINE__, "%s", #cond);                                         \
        }                                                                                          \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        ak_test_counted();                                                                         \
        long long got_ = (long long)(got);                                                         \
        long long want_ = (long long)(want);                                                       \
        if (got_ != want_) {                                                                       \
            ak_test_fail(__FILE__, __LINE__, "%s is %lld, want %lld", #got, got_, want_);          \
        }                                                                                          \
    } while (0)

#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        ak_test_counted();                                                                         \
        const char *got_ = (got);                                                                  \
        const char *want_ = (want);                                                                \
        if (strcmp(got_, want_) != 0) {                                                            \
            ak_test_fail(__FILE__, __LINE__, "%s is \"%s\", want \"%s\"", #got, got_, want_);      \
        }                                                                                          \
    } while (0)

/* The call must give AK_OK. Needs `struct ak_err err` in scope for the message. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        ak_test_counted();                                                                         \
        enum ak_rc rc_ = (call);                                                                   \
        if (rc_ != AK_OK) {                                                                        \
            ak_test_fail(__FILE__, __LINE__, "%s gave %s: %s", #call, ak_rc_name(rc_), err.text);  \
        }                                                                                          \
    } while (0)

#define CHECK_RC(want, call)                                                                       \
    do {                                                                                           \
        ak_test_counted();                                                                         \
        enum ak_rc rc_ = (call);                                                                   \
        if (rc_ != (want)) {                                                                       \
            ak_test_fail(__FILE__, __LINE__, "%s gave %s, want %s", #call, ak_rc_name(rc_),        \
                         ak_rc_name(want));                                                        \
        }                                                                                          \
    } while (0)

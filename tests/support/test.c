/* test.c — runs the registered tests of one program and prints the closing line. */
#include "support/test.h"
#include "base/mem.h"
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TESTS_MAX 1024

struct test_case {
    const char *suite;
    const char *name;
    ak_test_fn fn;
};

enum outcome { PASSED, FAILED, SKIPPED };

static struct test_case cases[TESTS_MAX];
static size_t case_count;
static jmp_buf leave;
static pthread_t runner;
static _Atomic uint64_t checks;
static char dir_path[512];
static char shared_path[1024];
static uint64_t seed;
static bool seed_used;

void ak_test_register(const char *suite, const char *name, ak_test_fn fn)
{
    if (case_count == TESTS_MAX) {
        (void)fprintf(stderr, "more than %d tests in one program\n", TESTS_MAX);
        abort();
    }
    cases[case_count++] = (struct test_case){suite, name, fn};
}

void ak_test_counted(void)
{
    atomic_fetch_add_explicit(&checks, 1, memory_order_relaxed);
}

void ak_test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fprintf(stderr, "    %s:%d: ", file, line);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    if (!pthread_equal(pthread_self(), runner)) {
        abort();
    }
    longjmp(leave, 1 + FAILED);
}

void ak_test_skip(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fprintf(stderr, "    skipped: ");
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    longjmp(leave, 1 + SKIPPED);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_dir(void)
{
    if (dir_path[0]) {
        (void)nftw(dir_path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        dir_path[0] = '\0';
    }
}

const char *ak_test_dir(void)
{
    if (!dir_path[0]) {
        const char *tmp = getenv("TMPDIR");
        (void)snprintf(dir_path, sizeof dir_path, "%s/akidb-test-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(dir_path)) {
            int errnum = errno;
            dir_path[0] = '\0';
            ak_test_fail(__FILE__, __LINE__, "mkdtemp: %s", strerror(errnum));
        }
    }
    return dir_path;
}

const char *ak_test_shared(const char *relative)
{
    const char *shared = getenv("AKIDB_SHARED");
    (void)snprintf(shared_path, sizeof shared_path, "%s/%s", shared ? shared : "../shared",
                   relative);
    if (access(shared_path, R_OK) != 0) {
        ak_test_skip("%s is absent (set AKIDB_SHARED to the folder that holds %s)", shared_path,
                     relative);
    }
    return shared_path;
}

uint64_t ak_test_seed(void)
{
    if (!seed_used) {
        const char *given = getenv("AKIDB_TEST_SEED");
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        seed = given ? strtoull(given, NULL, 0)
                     : (uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec;
        seed_used = true;
    }
    return seed;
}

static enum outcome run(const struct test_case *test)
{
    struct timespec from;
    struct timespec to;
    atomic_store(&checks, 0);
    seed_used = false;
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    volatile enum outcome outcome = PASSED;
    int came_back = setjmp(leave);
    if (came_back == 0) {
        test->fn();
    } else {
        outcome = (enum outcome)(came_back - 1);
    }
    if (outcome == PASSED && atomic_load(&checks) == 0) {
        (void)fprintf(stderr, "    made no check\n");
        outcome = FAILED;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    static const char *const words[] = {"ok", "FAILED", "skipped"};
    (void)printf("%-8s %s: %s (%.0f ms)\n", words[outcome], test->suite, test->name, ms);
    if (outcome == FAILED) {
        if (seed_used) {
            (void)printf("         AKIDB_TEST_SEED=%llu\n", (unsigned long long)seed);
        }
        if (dir_path[0]) {
            (void)printf("         kept: %s\n", dir_path);
            dir_path[0] = '\0';
        }
    }
    remove_dir();
    (void)fflush(stdout);
    return outcome;
}

static bool is_wanted(const struct test_case *test, int argc, char **argv)
{
    char full[512];
    (void)snprintf(full, sizeof full, "%s: %s", test->suite, test->name);
    for (int i = 1; i < argc; i++) {
        if (strstr(full, argv[i])) {
            return true;
        }
    }
    return argc < 2;
}

int ak_test_main(int argc, char **argv)
{
    size_t counts[3] = {0};
    runner = pthread_self();
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < case_count; i++) {
            (void)printf("%s: %s\n", cases[i].suite, cases[i].name);
        }
        return 0;
    }
    for (size_t i = 0; i < case_count; i++) {
        if (is_wanted(&cases[i], argc, argv)) {
            counts[run(&cases[i])]++;
        }
    }
    (void)printf("%zu passed, %zu failed", counts[PASSED], counts[FAILED]);
    if (counts[SKIPPED]) {
        (void)printf(", %zu skipped", counts[SKIPPED]);
    }
    (void)printf("\n");
    return counts[FAILED] || counts[PASSED] + counts[SKIPPED] == 0 ? 1 : 0;
}

/* objstore_suite.h — what every object store must do: one suite for all of them.
 *
 *   #define OBJSTORE_SUITE dir                       // the suite's name in the output
 *   static struct ak_objstore *suite_open(void) …    // a store for one test
 *   static void suite_close(struct ak_objstore *)    // and the end of it
 *   #include "support/objstore_suite.h"
 *
 * Before the include, what a store cannot: suite_clash() says what becomes of "a/b" when there is
 * "a", suite_part_max() gives the most bytes between two '/', suite_key_max() those of a key;
 * and how much to do: OBJSTORE_SUITE_ROUNDS (random operations), OBJSTORE_SUITE_LARGE (bytes of the
 * largest object). SUITE_CAN_ALL_KEYS defines the three functions for a store that can all.
 * Each test has its own random prefix, so the store may be shared and need not be empty.
 */
#pragma once
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "objstore/objstore.h"
#include "support/test.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum suite_clash {
    SUITE_CLASH_FINE,
    /* MinIO: kept, but missing from listings; and a page that starts within "a/" misses keys when
     * there are names beside it that begin with "a" (its listing counts them against max-keys). */
    SUITE_CLASH_NOT_LISTED,
    SUITE_CLASH_REFUSED /* the second one is (versitygw) */
};
static enum suite_clash suite_clash(void);
static size_t suite_part_max(void);
static size_t suite_key_max(void);

#define SUITE_CAN_ALL_KEYS                                                                         \
    static enum suite_clash suite_clash(void)                                                      \
    {                                                                                              \
        return SUITE_CLASH_FINE;                                                                   \
    }                                                                                              \
    static size_t suite_part_max(void)                                                             \
    {                                                                                              \
        return AK_OBJSTORE_KEY_MAX;                                                                \
    }                                                                                              \
    static size_t suite_key_max(void)                                                              \
    {                                                                                              \
        return AK_OBJSTORE_KEY_MAX;                                                                \
    }

#define STORE_TEST_OF(suite, name) TEST(suite, name)
#define STORE_TEST(name) STORE_TEST_OF(OBJSTORE_SUITE, name)

static struct ak_err err;
static struct ak_rand suite_rand;
static char suite_base[48]; /* "t/<random>/": what all keys of this test begin with */

static struct ak_objstore *begin(void)
{
    uint64_t id = 0;
    ak_random_bytes(&id, sizeof id);
    (void)snprintf(suite_base, sizeof suite_base, "t/%016llx/", (unsigned long long)id);
    ak_rand_seed(&suite_rand, ak_test_seed());
    return suite_open();
}

/* The key of this test; four of them are valid at a time. */
static struct ak_str key_of(const char *name)
{
    static char texts[4][AK_OBJSTORE_KEY_MAX + 2];
    static unsigned next;
    char *text = texts[next++ % 4];
    int len = snprintf(text, sizeof texts[0], "%s%s", suite_base, name);
    return (struct ak_str){text, (size_t)len};
}

static char *random_bytes(size_t len)
{
    char *p = ak_alloc(len + 8);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = ak_rand_u64(&suite_rand);
        memcpy(p + i, &word, 8);
    }
    return p;
}

static void put_bytes(struct ak_objstore *store, const char *name, struct ak_str bytes)
{
    CHECK_OK(ak_objstore_put(store, key_of(name), bytes, NULL, &err));
}

static void check_object(struct ak_objstore *store, struct ak_str key, struct ak_str want)
{
    struct ak_buf out;
    ak_buf_init(&out, 0);
    CHECK_OK(ak_objstore_get(store, key, &out, &err));
    CHECK_INT(out.len, want.len);
    CHECK(ak_str_eq(ak_buf_str(&out), want));
    ak_buf_release(&out);
}

static bool is_there(struct ak_objstore *store, struct ak_str key)
{
    struct ak_arena arena;
    struct ak_object object;
    ak_arena_init(&arena, 0);
    enum ak_rc rc = ak_objstore_head(store, key, &arena, &object, &err);
    ak_arena_release(&arena);
    CHECK(rc == AK_OK || rc == AK_NOT_FOUND);
    return rc == AK_OK;
}

static const char *file_of(const char *name)
{
    static char paths[2][1024];
    static unsigned next;
    char *path = paths[next++ % 2];
    (void)snprintf(path, sizeof paths[0], "%s/%s", ak_test_dir(), name);
    return path;
}

static bool file_is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* --- Whole objects --- */

STORE_TEST(what_is_put_is_got_byte_for_byte_at_every_size)
{
    static const size_t sizes[] = {0, 1, 2, 511, 4095, 4096, 4097, 65536, 1000003};
    struct ak_objstore *store = begin();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct ak_arena arena;
        struct ak_object object = {0};
        ak_arena_init(&arena, 0);
        char *bytes = random_bytes(sizes[i]);
        put_bytes(store, "object", (struct ak_str){bytes, sizes[i]});
        check_object(store, key_of("object"), (struct ak_str){bytes, sizes[i]});
        CHECK_OK(ak_objstore_head(store, key_of("object"), &arena, &object, &err));
        CHECK_INT(object.size, sizes[i]);
        CHECK(ak_str_eq(object.key, key_of("object")));
        ak_free(bytes);
        ak_arena_release(&arena);
    }
    suite_close(store);
}

STORE_TEST(a_get_appends_to_what_the_caller_has)
{
    struct ak_objstore *store = begin();
    struct ak_buf out;
    ak_buf_init(&out, 12);
    ak_buf_add_str(&out, AK_STR("before:"));
    put_bytes(store, "object", AK_STR("12345"));
    CHECK_OK(ak_objstore_get(store, key_of("object"), &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), AK_STR("before:12345")));
    CHECK_RC(AK_TOO_BIG, ak_objstore_get(store, key_of("object"), &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), AK_STR("before:12345")));
    CHECK_RC(AK_NOT_FOUND, ak_objstore_get(store, key_of("absent"), &out, &err));
    CHECK(ak_str_eq(ak_buf_str(&out), AK_STR("before:12345")));
    put_bytes(store, "object", AK_STR(""));
    CHECK_OK(ak_objstore_get(store, key_of("object"), &out, &err));
    CHECK_INT(out.len, 12);
    ak_buf_release(&out);
    suite_close(store);
}

STORE_TEST(an_absent_object_is_not_found_and_is_removed_all_the_same)
{
    struct ak_objstore *store = begin();
    struct ak_arena arena;
    struct ak_object object = {.size = 77};
    struct ak_buf out;
    char byte = 'x';
    ak_arena_init(&arena, 0);
    ak_buf_init(&out, 0);
    struct ak_str key = key_of("a/b/c.txt");
    CHECK_RC(AK_NOT_FOUND, ak_objstore_get(store, key, &out, &err));
    CHECK(strstr(err.text, ak_objstore_name(store)) && strstr(err.text, "c.txt"));
    CHECK_RC(AK_NOT_FOUND, ak_objstore_head(store, key, &arena, &object, &err));
    CHECK_INT(object.size, 77);
    CHECK_RC(AK_NOT_FOUND, ak_objstore_get_range(store, key, 0, &byte, 1, &err));
    CHECK_RC(AK_NOT_FOUND, ak_objstore_get_range(store, key, 0, &byte, 0, &err));
    CHECK_RC(AK_NOT_FOUND,
             ak_objstore_get_file(store, key, ak_fs_posix(), file_of("f"), NULL, NULL, &err));
    CHECK_RC(AK_NOT_FOUND,
             ak_objstore_link_file(store, key, ak_fs_posix(), file_of("f"), NULL, NULL, &err));
    CHECK(!file_is_there(file_of("f")) && !file_is_there(file_of("f.part")));
    CHECK_OK(ak_objstore_remove(store, key, &err));
    CHECK_OK(ak_objstore_put(store, key, AK_STR("now"), NULL, &err));
    CHECK_OK(ak_objstore_remove(store, key, &err));
    CHECK_OK(ak_objstore_remove(store, key, &err));
    CHECK(!is_there(store, key));
    ak_arena_release(&arena);
    ak_buf_release(&out);
    suite_close(store);
}

/* --- Keys --- */

STORE_TEST(a_bad_key_is_refused_by_every_call)
{
    static const char *const bad[] = {
        "",       "/",     "/a",   "a/",    "a//b", ".",         "..",           "a/.",     "../a",
        "a/../b", "a/./b", "a\nb", "a\x7f", "\xff", "a\xc0\x80", "\xed\xa0\x80", "\xc2\x85"};
    struct ak_objstore *store = begin();
    char *longest = ak_alloc(AK_OBJSTORE_KEY_MAX + 1);
    memset(longest, 'k', AK_OBJSTORE_KEY_MAX + 1);
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        bool is_last = i == sizeof bad / sizeof *bad;
        struct ak_str key =
            is_last ? (struct ak_str){longest, AK_OBJSTORE_KEY_MAX + 1} : ak_str_of(bad[i]);
        struct ak_objstore_writer *writer = NULL;
        struct ak_arena arena;
        struct ak_object object;
        struct ak_buf out;
        char byte = 0;
        ak_arena_init(&arena, 0);
        ak_buf_init(&out, 0);
        CHECK_RC(AK_INVALID, ak_objstore_put(store, key, AK_STR("x"), NULL, &err));
        CHECK(strstr(err.text, "object key"));
        CHECK_RC(AK_INVALID, ak_objstore_get(store, key, &out, &err));
        CHECK_RC(AK_INVALID, ak_objstore_head(store, key, &arena, &object, &err));
        CHECK_RC(AK_INVALID, ak_objstore_get_range(store, key, 0, &byte, 1, &err));
        CHECK_RC(AK_INVALID, ak_objstore_remove(store, key, &err));
        CHECK_RC(AK_INVALID, ak_objstore_create(store, key, NULL, &writer, &err));
        CHECK_RC(AK_INVALID,
                 ak_objstore_put_file(store, key, ak_fs_posix(), file_of("f"), NULL, NULL, &err));
        CHECK_RC(AK_INVALID,
                 ak_objstore_get_file(store, key, ak_fs_posix(), file_of("f"), NULL, NULL, &err));
    }
    struct ak_objstore_put_options options = {.content_type = "text/plain\r\nx-evil: 1"};
    CHECK_RC(AK_INVALID, ak_objstore_put(store, key_of("a"), AK_STR("x"), &options, &err));
    ak_free(longest);
    suite_close(store);
}

static const char *const odd_keys[] = {
    "plain",
    "with space",
    "plus+plus",
    "percent%",
    "percent%25",
    "%2E",
    "%.",
    "%+",
    "a%.",
    ".hidden",
    "..two",
    "dots...",
    "end.",
    "v1.0/x",
    "v1.0/y.z",
    "tilde~",
    "quote\"'`",
    "amp&lt;<>",
    "hash#frag",
    "query?x=y&z",
    "semi;colon:comma,",
    "back\\slash",
    "star*[a]{b}",
    "dollar$(x)",
    "=a=b",
    "@home",
    "\xc3\xa9t\xc3\xa9",
    "\xe6\x97\xa5\xe6\x9c\xac/\xf0\x9f\x98\x80",
    "e\xcc\x81",
    "UPPER",
    "upper",
    "-dash",
    "--",
    " lead",
    "trail ",
    "a/b/c/d/e/f/g/h",
    "x.tmp",
    ".tmp",
    ".tmp/x",
    "lock.lock",
    "x.part",
};
#define ODD_KEYS (sizeof odd_keys / sizeof *odd_keys)

STORE_TEST(odd_keys_are_kept_apart_and_listed_as_they_were_put)
{
    struct ak_objstore *store = begin();
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    size_t expected = ODD_KEYS;
    for (size_t i = 0; i < ODD_KEYS; i++) {
        if (strcmp(odd_keys[i], ".tmp/x") == 0 && suite_clash() != SUITE_CLASH_FINE) {
            CHECK_OK(ak_objstore_remove(store, key_of(".tmp"), &err));
            expected--;
        }
        put_bytes(store, odd_keys[i], ak_str_of(odd_keys[i]));
    }
    CHECK_OK(ak_objstore_list(store, key_of(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    CHECK_INT(count, expected);
    for (size_t i = 0; i < count; i++) {
        struct ak_str name = ak_str_sub(objects[i].key, strlen(suite_base), AK_OBJSTORE_KEY_MAX);
        check_object(store, objects[i].key, name);
        CHECK_INT(objects[i].size, name.len);
        CHECK(i == 0 || ak_str_cmp(objects[i - 1].key, objects[i].key) < 0);
    }
    for (size_t i = 0; i < ODD_KEYS; i++) {
        CHECK_OK(ak_objstore_remove(store, key_of(odd_keys[i]), &err));
    }
    CHECK_OK(ak_objstore_list(store, key_of(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    CHECK_INT(count, 0);
    ak_arena_release(&arena);
    suite_close(store);
}

STORE_TEST(long_keys_are_usable_to_the_last_byte)
{
    struct ak_objstore *store = begin();
    static const size_t lens[] = {200, 249, 250, 251, 252, 253, 254, 255, 256, 500, 901};
    char name[AK_OBJSTORE_KEY_MAX + 1];
    size_t kept = 0;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        if (lens[i] > suite_part_max()) {
            continue;
        }
        for (size_t n = 0; n < lens[i]; n++) {
            name[n] = n % 7 == 3 ? '.' : (char)('a' + n % 26);
        }
        name[lens[i]] = '\0';
        put_bytes(store, name, AK_STR("long"));
        check_object(store, key_of(name), AK_STR("long"));
        kept++;
    }
    /* The longest of all: parts of 100 bytes. */
    size_t len = suite_key_max() - strlen(suite_base);
    for (size_t n = 0; n < len; n++) {
        name[n] = n % 101 == 100 ? '/' : 'z';
    }
    name[len - 1] = 'z';
    name[len] = '\0';
    put_bytes(store, name, AK_STR("longest"));
    check_object(store, key_of(name), AK_STR("longest"));
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(store, key_of(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    CHECK_INT(count, kept + 1);
    CHECK(ak_str_eq(objects[kept].key, key_of(name)));
    for (size_t i = 0; i < count; i++) {
        CHECK_OK(ak_objstore_remove(store, objects[i].key, &err));
    }
    ak_arena_release(&arena);
    suite_close(store);
}

STORE_TEST(an_object_and_a_folder_of_others_may_have_one_name)
{
    static const char *const names[] = {"fd", "fd/x", "fd/x/y", "fd.d", "fd.d/x", "fd-", "fd0"};
    struct ak_objstore *store = begin();
    if (suite_clash() == SUITE_CLASH_REFUSED) {
        put_bytes(store, "fd", AK_STR("file"));
        CHECK(ak_objstore_put(store, key_of("fd/x"), AK_STR("x"), NULL, &err) != AK_OK);
        check_object(store, key_of("fd"), AK_STR("file"));
        suite_close(store);
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        put_bytes(store, names[i], ak_str_of(names[i]));
    }
    CHECK_OK(ak_objstore_remove(store, key_of("fd/x"), &err));
    CHECK_OK(ak_objstore_remove(store, key_of("fd.d"), &err));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool is_gone = strcmp(names[i], "fd/x") == 0 || strcmp(names[i], "fd.d") == 0;
        CHECK(is_there(store, key_of(names[i])) == !is_gone);
    }
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(store, key_of("f"), AK_STR(""), 10, &arena, &objects, &count, &err));
    CHECK_INT(count, suite_clash() == SUITE_CLASH_FINE ? 5 : 4);
    ak_arena_release(&arena);
    suite_close(store);
}

/* --- Ranges --- */

STORE_TEST(a_range_is_exact_or_corrupt)
{
    struct ak_objstore *store = begin();
    size_t size = 100000;
    char *bytes = random_bytes(size);
    char *part = ak_zalloc(size + 1);
    struct ak_str key = key_of("object");
    CHECK_OK(ak_objstore_put(store, key, (struct ak_str){bytes, size}, NULL, &err));
    for (int i = 0; i < 30; i++) {
        size_t from = (size_t)ak_rand_below(&suite_rand, size);
        size_t len = (size_t)ak_rand_below(&suite_rand, size - from) + 1;
        CHECK_OK(ak_objstore_get_range(store, key, from, part, len, &err));
        CHECK(memcmp(part, bytes + from, len) == 0);
    }
    CHECK_OK(ak_objstore_get_range(store, key, 0, part, size, &err));
    CHECK_OK(ak_objstore_get_range(store, key, size - 1, part, 1, &err));
    CHECK_OK(ak_objstore_get_range(store, key, size, part, 0, &err));
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, key, 0, part, size + 1, &err));
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, key, size, part, 1, &err));
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, key, size + 1, part, 0, &err));
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, key, size * 2, part, 10, &err));
    CHECK_RC(AK_CORRUPT, ak_objstore_get_range(store, key, UINT64_MAX - 3, part, 10, &err));
    ak_free(bytes);
    ak_free(part);
    suite_close(store);
}

/* --- Listing --- */

#define LISTED 40

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys that a listing must give, page by page, against what it gives. */
static void check_pages(struct ak_objstore *store, char **names, const char *prefix,
                        const char *after, size_t limit)
{
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = limit;
    char last[AK_OBJSTORE_KEY_MAX + 1];
    size_t at = 0;
    struct ak_str begin_with = key_of(prefix);
    ak_arena_init(&arena, 0);
    (void)snprintf(last, sizeof last, "%s%s", *after ? suite_base : "", after);
    while (count == limit) {
        CHECK_OK(ak_objstore_list(store, begin_with, ak_str_of(last), limit, &arena, &objects,
                                  &count, &err));
        CHECK(count <= limit);
        for (size_t i = 0; i < count; i++) {
            while (at < LISTED && (strncmp(names[at], prefix, strlen(prefix)) != 0 ||
                                   (*after && strcmp(names[at], after) <= 0))) {
                at++;
            }
            CHECK(at < LISTED);
            CHECK(ak_str_eq(objects[i].key, key_of(names[at])));
            at++;
        }
        if (count > 0) {
            (void)snprintf(last, sizeof last, "%.*s", AK_STR_ARG(objects[count - 1].key));
        }
    }
    for (; at < LISTED; at++) {
        bool is_missing = strncmp(names[at], prefix, strlen(prefix)) == 0 &&
                          (!*after || strcmp(names[at], after) > 0);
        if (is_missing) {
            ak_test_fail(__FILE__, __LINE__, "prefix '%s' after '%s' by %zu: '%s' is not listed",
                         prefix, after, limit, names[at]);
        }
    }
    ak_arena_release(&arena);
}

STORE_TEST(a_listing_gives_every_key_once_in_order_page_by_page)
{
    static const char *const close[] = {"a", "b", "a-", "a0", "aa", "a.b", "ab"};
    static const char *const apart[] = {"aa", "bb", "ca", "da", "ea", "f.b", "gb"};
    bool is_apart = suite_clash() == SUITE_CLASH_NOT_LISTED;
    const char *const *parts = is_apart ? apart : close;
    const char *dash = is_apart ? "_" : ""; /* no file begins as a folder does */
    struct ak_objstore *store = begin();
    char *names[LISTED];
    for (size_t i = 0; i < LISTED; i++) {
        char text[128];
        const char *x = parts[ak_rand_below(&suite_rand, 7)];
        const char *y = parts[ak_rand_below(&suite_rand, 7)];
        /* The number keeps them apart, and no key is another's folder. */
        int len = i % 3 == 0   ? snprintf(text, sizeof text, "%s%s.%02zu", dash, x, i)
                  : i % 3 == 1 ? snprintf(text, sizeof text, "%s/%s%s.%02zu", x, dash, y, i)
                               : snprintf(text, sizeof text, "%s/%s/%s%s.%02zu", y, x, dash, y, i);
        names[i] = ak_strdup_n(text, (size_t)len);
        put_bytes(store, names[i], AK_STR("x"));
    }
    qsort(names, LISTED, sizeof *names, by_text);
    static const char *const prefixes[] = {"",     "a",  "a/",  "a-", "a/a",
                                           "a/a/", "a.", "b/a", "c",  "ab/"};
    static const size_t limits[] = {1, 3, 7, 40, 1000};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        check_pages(store, names, prefixes[i], "", limits[i % 5]);
    }
    for (size_t i = 0; i < 5; i++) {
        check_pages(store, names, "", "", limits[i]);
    }
    check_pages(store, names, "", names[LISTED / 2], 7);
    check_pages(store, names, "a", names[LISTED / 3], 2);
    check_pages(store, names, "", "a/zzz", 1000);
    check_pages(store, names, "a", "b", 5);
    check_pages(store, names, "b", "a", 5);
    for (size_t i = 0; i < LISTED; i++) {
        ak_free(names[i]);
    }
    suite_close(store);
}

STORE_TEST(a_listing_refuses_what_it_cannot_give_and_finds_nothing_where_nothing_is)
{
    struct ak_objstore *store = begin();
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 9;
    ak_arena_init(&arena, 0);
    CHECK_RC(AK_INVALID,
             ak_objstore_list(store, AK_STR(""), AK_STR(""), 0, &arena, &objects, &count, &err));
    CHECK_RC(AK_INVALID,
             ak_objstore_list(store, AK_STR(""), AK_STR(""), 1001, &arena, &objects, &count, &err));
    CHECK_RC(AK_INVALID, ak_objstore_list(store, AK_STR("\xff"), AK_STR(""), 1, &arena, &objects,
                                          &count, &err));
    CHECK_INT(count, 9);
    put_bytes(store, "x/y", AK_STR("1"));
    CHECK_OK(
        ak_objstore_list(store, key_of("nothing"), AK_STR(""), 10, &arena, &objects, &count, &err));
    CHECK_INT(count, 0);
    CHECK_OK(
        ak_objstore_list(store, key_of("x/y/z/"), AK_STR(""), 10, &arena, &objects, &count, &err));
    CHECK_INT(count, 0);
    CHECK_OK(
        ak_objstore_list(store, AK_STR("../"), AK_STR(""), 10, &arena, &objects, &count, &err));
    CHECK_INT(count, 0);
    ak_arena_release(&arena);
    suite_close(store);
}

/* --- Conditional puts --- */

STORE_TEST(a_conditional_put_gives_way_to_what_is_there)
{
    struct ak_objstore *store = begin();
    struct ak_objstore_put_options options = {.only_if_absent = true};
    struct ak_objstore_writer *writer = NULL;
    struct ak_str key = key_of("once.txt");
    CHECK_OK(ak_objstore_put(store, key, AK_STR("first"), &options, &err));
    CHECK_RC(AK_EXISTS, ak_objstore_put(store, key, AK_STR("second"), &options, &err));
    check_object(store, key, AK_STR("first"));
    enum ak_rc rc = ak_objstore_create(store, key, &options, &writer, &err);
    if (rc == AK_OK) {
        CHECK_OK(ak_objstore_write(writer, "third", 5, &err));
        rc = ak_objstore_commit(writer, NULL, &err);
    }
    CHECK_INT(rc, AK_EXISTS);
    check_object(store, key, AK_STR("first"));
    CHECK_OK(ak_objstore_put(store, key, AK_STR("replaced"), NULL, &err));
    CHECK_OK(ak_objstore_remove(store, key, &err));
    CHECK_OK(ak_objstore_put(store, key, AK_STR("again"), &options, &err));
    check_object(store, key, AK_STR("again"));
    suite_close(store);
}

#define RACERS 8

struct race {
    struct ak_objstore *store;
    pthread_barrier_t *barrier;
    struct ak_str key;
    char bytes[64];
    size_t len;
    enum ak_rc rc;
    struct ak_err err;
};

static void run_racer(void *arg)
{
    struct race *race = arg;
    struct ak_objstore_put_options options = {.only_if_absent = true};
    (void)pthread_barrier_wait(race->barrier);
    race->rc = ak_objstore_put(race->store, race->key, (struct ak_str){race->bytes, race->len},
                               &options, &race->err);
}

STORE_TEST(of_conditional_puts_at_the_same_time_exactly_one_wins)
{
    struct ak_objstore *store = begin();
    pthread_barrier_t barrier;
    CHECK(pthread_barrier_init(&barrier, NULL, RACERS) == 0);
    for (int round = 0; round < 10; round++) {
        struct race races[RACERS];
        struct ak_thread threads[RACERS] = {0};
        char name[32];
        (void)snprintf(name, sizeof name, "race/%d", round);
        struct ak_str key = key_of(name);
        for (int i = 0; i < RACERS; i++) {
            races[i] = (struct race){.store = store, .barrier = &barrier, .key = key};
            races[i].len = (size_t)snprintf(races[i].bytes, sizeof races[i].bytes, "racer %d", i);
            CHECK_OK(ak_thread_start(&threads[i], "racer", run_racer, &races[i], &err));
        }
        int winner = -1;
        for (int i = 0; i < RACERS; i++) {
            ak_thread_join(&threads[i]);
            CHECK(races[i].rc == AK_OK || races[i].rc == AK_EXISTS);
            CHECK(races[i].rc != AK_OK || winner < 0);
            winner = races[i].rc == AK_OK ? i : winner;
        }
        CHECK(winner >= 0);
        check_object(store, key, (struct ak_str){races[winner].bytes, races[winner].len});
    }
    (void)pthread_barrier_destroy(&barrier);
    suite_close(store);
}

/* --- Old or new --- */

#define MIX_BYTES 20000

struct mixer {
    struct ak_objstore *store;
    struct ak_str key;
    _Atomic bool stop;
    struct ak_err err;
    bool has_failed;
};

static void run_mixer(void *arg)
{
    struct mixer *mixer = arg;
    char *bytes = ak_alloc(MIX_BYTES);
    for (int i = 0; !mixer->stop && !mixer->has_failed; i++) {
        memset(bytes, 'a' + i % 26, MIX_BYTES);
        size_t len = MIX_BYTES - (size_t)(i % 26) * 100;
        mixer->has_failed = ak_objstore_put(mixer->store, mixer->key, (struct ak_str){bytes, len},
                                            NULL, &mixer->err) != AK_OK;
    }
    ak_free(bytes);
}

STORE_TEST(a_get_sees_an_object_before_a_put_or_after_it)
{
    struct ak_objstore *store = begin();
    struct mixer mixer = {.store = store, .key = key_of("mixed")};
    struct ak_thread thread = {0};
    char first[MIX_BYTES];
    memset(first, 'a', sizeof first);
    put_bytes(store, "mixed", (struct ak_str){first, sizeof first});
    CHECK_OK(ak_thread_start(&thread, "mixer", run_mixer, &mixer, &err));
    for (int i = 0; i < 60; i++) {
        struct ak_buf out;
        ak_buf_init(&out, 0);
        CHECK_OK(ak_objstore_get(store, mixer.key, &out, &err));
        CHECK_INT(out.len, MIX_BYTES - (size_t)(out.p[0] - 'a') * 100);
        CHECK(memcmp(out.p, out.p + 1, out.len - 1) == 0);
        ak_buf_release(&out);
    }
    mixer.stop = true;
    ak_thread_join(&thread);
    CHECK_STR(mixer.has_failed ? mixer.err.text : "", "");
    suite_close(store);
}

/* --- Writers --- */

STORE_TEST(a_writer_makes_its_object_visible_at_commit_and_not_before)
{
    struct ak_objstore *store = begin();
    struct ak_objstore_writer *writer = NULL;
    size_t size = 300000;
    char *bytes = random_bytes(size);
    uint64_t written = 0;
    struct ak_str key = key_of("streamed.bin");
    CHECK_OK(ak_objstore_create(store, key, NULL, &writer, &err));
    for (size_t at = 0, len = 0; at < size; at += len) {
        len = (size_t)ak_rand_below(&suite_rand, 50000);
        len = len > size - at ? size - at : len;
        CHECK_OK(ak_objstore_write(writer, bytes + at, len, &err));
    }
    CHECK(!is_there(store, key));
    CHECK_OK(ak_objstore_commit(writer, &written, &err));
    CHECK_INT(written, size);
    check_object(store, key, (struct ak_str){bytes, size});
    CHECK_OK(ak_objstore_create(store, key, NULL, &writer, &err));
    CHECK_OK(ak_objstore_write(writer, "other", 5, &err));
    ak_objstore_abort(writer);
    check_object(store, key, (struct ak_str){bytes, size});
    CHECK_OK(ak_objstore_create(store, key_of("nothing"), NULL, &writer, &err));
    CHECK_OK(ak_objstore_commit(writer, &written, &err));
    CHECK_INT(written, 0);
    check_object(store, key_of("nothing"), AK_STR(""));
    CHECK_OK(ak_objstore_create(store, key_of("aborted"), NULL, &writer, &err));
    ak_objstore_abort(writer);
    CHECK(!is_there(store, key_of("aborted")));
    ak_objstore_abort(NULL);
    ak_free(bytes);
    suite_close(store);
}

/* --- Against a model --- */

#define MODEL_KEYS 10

STORE_TEST(random_operations_agree_with_a_model)
{
    struct ak_objstore *store = begin();
    int values[MODEL_KEYS];
    memset(values, -1, sizeof values);
    for (int round = 0; round < OBJSTORE_SUITE_ROUNDS; round++) {
        size_t n = (size_t)ak_rand_below(&suite_rand, MODEL_KEYS);
        char name[32];
        char value[32];
        (void)snprintf(name, sizeof name, "%zu/%zu/k.%zu", n % 2, n % 3, n);
        int len = snprintf(value, sizeof value, "%d", round);
        struct ak_objstore_put_options options = {.only_if_absent = ak_rand_below(&suite_rand, 2)};
        struct ak_buf out;
        enum ak_rc rc = AK_OK;
        ak_buf_init(&out, 0);
        switch (ak_rand_below(&suite_rand, 4)) {
        case 0:
        case 1:
            rc = ak_objstore_put(store, key_of(name), (struct ak_str){value, (size_t)len}, &options,
                                 &err);
            CHECK_INT(rc, options.only_if_absent && values[n] >= 0 ? AK_EXISTS : AK_OK);
            values[n] = rc == AK_OK ? round : values[n];
            break;
        case 2:
            CHECK_OK(ak_objstore_remove(store, key_of(name), &err));
            values[n] = -1;
            break;
        default:
            rc = ak_objstore_get(store, key_of(name), &out, &err);
            CHECK_INT(rc, values[n] < 0 ? AK_NOT_FOUND : AK_OK);
            CHECK(rc != AK_OK || strtol(ak_buf_cstr(&out), NULL, 10) == values[n]);
        }
        ak_buf_release(&out);
    }
    struct ak_arena arena;
    struct ak_object *objects = NULL;
    size_t count = 0;
    size_t expected = 0;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_objstore_list(store, key_of(""), AK_STR(""), 1000, &arena, &objects, &count, &err));
    for (size_t n = 0; n < MODEL_KEYS; n++) {
        expected += values[n] >= 0;
    }
    CHECK_INT(count, expected);
    ak_arena_release(&arena);
    suite_close(store);
}

#include "support/objstore_suite_files.h"

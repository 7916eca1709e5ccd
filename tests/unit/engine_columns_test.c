/* engine_columns_test.c — filter columns against the slow reference, under every kind of pressure.
 */
#include "base/fault.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/sync.h"
#include "engine/columns.h"
#include "support/test.h"
#include <stdatomic.h>

#define SLOTS_MAX 4096u
#define TEXT_MAX 512u

/* A collection as the columns see one: metadata and a live bit per slot. */
struct rows {
    char text[SLOTS_MAX][TEXT_MAX];
    uint64_t live[SLOTS_MAX / 64];
    uint64_t slots;
    uint64_t reads;
};

static struct ak_str metadata_of(void *ctx, uint32_t slot)
{
    struct rows *rows = ctx;
    AK_ASSERT(slot < SLOTS_MAX);
    __atomic_fetch_add(&rows->reads, 1, __ATOMIC_RELAXED);
    return ak_str_of(rows->text[slot]);
}

static struct rows *new_rows(void)
{
    return ak_zalloc(sizeof(struct rows));
}

static bool is_live(const struct rows *rows, uint64_t slot)
{
    return rows->live[slot / 64] >> (slot % 64) & 1;
}

static void set_live(struct rows *rows, uint64_t slot, bool live)
{
    uint64_t bit = (uint64_t)1 << (slot % 64);
    rows->live[slot / 64] = live ? rows->live[slot / 64] | bit : rows->live[slot / 64] & ~bit;
}

static void put(struct rows *rows, struct ak_columns *columns, uint64_t slot, const char *text)
{
    (void)snprintf(rows->text[slot], TEXT_MAX, "%s", text);
    if (columns) {
        ak_columns_set(columns, (uint32_t)slot, ak_str_of(rows->text[slot]));
    }
    set_live(rows, slot, true);
    rows->slots = rows->slots <= slot ? slot + 1 : rows->slots;
}

/* Both answers for a filter text; they must be equal. Returns how many slots match. */
static uint64_t compare(struct rows *rows, struct ak_columns *columns, const char *text)
{
    struct ak_err err;
    struct ak_arena arena;
    const struct ak_filter *filter = NULL;
    uint64_t out[SLOTS_MAX / 64];
    uint64_t count = 0;
    uint64_t want = 0;
    ak_arena_init(&arena, 0);
    memset(out, 0xAA, sizeof out);
    CHECK_OK(ak_filter_parse(ak_str_of(text), &arena, &filter, &err));
    CHECK_OK(ak_columns_match(columns, filter, rows->slots, rows->live, out, &count, &err));
    for (uint64_t slot = 0; slot < (rows->slots + 63) / 64 * 64; slot++) {
        bool holds = slot < rows->slots && is_live(rows, slot) &&
                     ak_filter_matches(filter, ak_str_of(rows->text[slot]));
        want += holds;
        if ((out[slot / 64] >> (slot % 64) & 1) != holds) {
            ak_test_fail(__FILE__, __LINE__, "slot %llu %s: %s should %smatch %s",
                         (unsigned long long)slot, is_live(rows, slot) ? "(live)" : "(removed)",
                         rows->text[slot], holds ? "" : "not ", text);
        }
    }
    CHECK_INT(count, want);
    ak_arena_release(&arena);
    return count;
}

static struct ak_columns *open_columns(struct rows *rows)
{
    struct ak_err err;
    struct ak_columns *columns = NULL;
    CHECK_OK(ak_columns_open(&columns, metadata_of, rows, &err));
    return columns;
}

/* --- Random documents and filters over few keys and values, so that they meet --- */

static const char *const keys[] = {"a", "b", "c", "a.b", "a.b.c", "tags", "n"};
#define KEYS (sizeof keys / sizeof *keys)

static void random_scalar(struct ak_rand *rand, struct ak_buf *out)
{
    static const char *const scalars[] = {
        "\"x\"", "\"y\"", "\"\"", "\"1\"", "\"\\u0078\"", "true",    "false",  "0",
        "-0.0",  "1",     "1.0",  "2.5",   "-3",          "1000000", "1e-320", "1e300"};
    uint64_t at = ak_rand_below(rand, sizeof scalars / sizeof *scalars + 4);
    if (at < sizeof scalars / sizeof *scalars) {
        ak_buf_add_fmt(out, "%s", scalars[at]);
    } else {
        ak_buf_add_fmt(out, "%llu", (unsigned long long)ak_rand_below(rand, 200));
    }
}

static void random_object(struct ak_rand *rand, struct ak_buf *out, unsigned depth);

static void random_value(struct ak_rand *rand, struct ak_buf *out, unsigned depth)
{
    uint64_t kind = ak_rand_below(rand, 10);
    if (kind == 0) {
        ak_buf_add_fmt(out, "null");
    } else if (kind <= 2) {
        uint64_t count = ak_rand_below(rand, 5);
        ak_buf_add_char(out, '[');
        for (uint64_t i = 0; i < count; i++) {
            ak_buf_add_fmt(out, "%s", i ? "," : "");
            if (ak_rand_below(rand, 8) == 0) {
                ak_buf_add_fmt(out, "[1,\"x\"],{\"b\":1},null,");
            }
            random_scalar(rand, out);
        }
        ak_buf_add_char(out, ']');
    } else if (kind <= 4 && depth < 3) {
        random_object(rand, out, depth + 1);
    } else {
        random_scalar(rand, out);
    }
}

static void random_object(struct ak_rand *rand, struct ak_buf *out, unsigned depth)
{
    bool first = true;
    ak_buf_add_char(out, '{');
    for (size_t i = 0; i < KEYS; i++) {
        if (ak_rand_below(rand, depth ? 4 : 2) == 0) {
            ak_buf_add_fmt(out, "%s\"%s\": ", first ? "" : ", ", keys[i]);
            random_value(rand, out, depth);
            first = false;
        }
    }
    ak_buf_add_char(out, '}');
}

static void random_document(struct ak_rand *rand, char text[TEXT_MAX])
{
    struct ak_buf out;
    text[0] = '\0';
    ak_buf_init(&out, 0);
    if (ak_rand_below(rand, 20)) {
        random_object(rand, &out, 0);
        if (out.len < TEXT_MAX) {
            memcpy(text, ak_buf_cstr(&out), out.len + 1);
        }
    }
    ak_buf_release(&out);
}

static void random_group(struct ak_rand *rand, struct ak_buf *out, unsigned depth);

static void random_condition(struct ak_rand *rand, struct ak_buf *out, unsigned depth)
{
    static const char *const bounds[] = {"\"gt\"", "\"gte\""};
    static const char *const tops[] = {"\"lt\"", "\"lte\""};
    uint64_t kind = ak_rand_below(rand, depth < 3 ? 9 : 7);
    if (kind >= 7) {
        random_group(rand, out, depth + 1);
        return;
    }
    ak_buf_add_fmt(out, "{\"key\":\"%s\",", keys[ak_rand_below(rand, KEYS)]);
    if (kind <= 1) {
        ak_buf_add_fmt(out, "\"match\":");
        random_scalar(rand, out);
    } else if (kind <= 3) {
        uint64_t count = ak_rand_below(rand, 7);
        ak_buf_add_fmt(out, "\"match\":[");
        for (uint64_t i = 0; i < count; i++) {
            ak_buf_add_fmt(out, "%s", i ? "," : "");
            random_scalar(rand, out);
        }
        ak_buf_add_char(out, ']');
    } else if (kind <= 5) {
        bool has_low = ak_rand_below(rand, 3) != 0;
        bool has_high = !has_low || ak_rand_below(rand, 2);
        ak_buf_add_fmt(out, "\"range\":{");
        if (has_low) {
            ak_buf_add_fmt(out, "%s:%lld", bounds[ak_rand_below(rand, 2)],
                           (long long)ak_rand_below(rand, 100) - 10);
        }
        if (has_high) {
            ak_buf_add_fmt(out, "%s%s:%llu", has_low ? "," : "", tops[ak_rand_below(rand, 2)],
                           (unsigned long long)ak_rand_below(rand, 200));
        }
        ak_buf_add_char(out, '}');
    } else {
        ak_buf_add_fmt(out, "\"exists\":%s", ak_rand_below(rand, 2) ? "true" : "false");
    }
    ak_buf_add_char(out, '}');
}

static void random_group(struct ak_rand *rand, struct ak_buf *out, unsigned depth)
{
    static const char *const parts[] = {"must", "should", "must_not"};
    bool first = true;
    uint64_t forced = ak_rand_below(rand, 3);
    ak_buf_add_char(out, '{');
    for (size_t i = 0; i < 3; i++) {
        if (i != forced && ak_rand_below(rand, 2)) {
            continue;
        }
        ak_buf_add_fmt(out, "%s\"%s\":[", first ? "" : ",", parts[i]);
        uint64_t count = ak_rand_below(rand, 4);
        for (uint64_t c = 0; c < count; c++) {
            ak_buf_add_fmt(out, "%s", c ? "," : "");
            random_condition(rand, out, depth);
        }
        ak_buf_add_char(out, ']');
        first = false;
    }
    ak_buf_add_char(out, '}');
}

/* Random adds, removals and reuses between random filters. */
static void run_model(struct ak_columns *columns, struct rows *rows, unsigned rounds)
{
    struct ak_rand rand;
    struct ak_buf filter;
    char text[TEXT_MAX];
    uint64_t matched = 0;
    ak_rand_seed(&rand, ak_test_seed());
    ak_buf_init(&filter, 0);
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t writes = ak_rand_below(&rand, round % 16 ? 20 : 300);
        for (uint64_t i = 0; i < writes; i++) {
            uint64_t slot = rows->slots < SLOTS_MAX - 1 ? rows->slots : 0;
            if (rows->slots &&
                ak_rand_below(&rand, 2)) { /* remove a row, reuse its slot at times */
                slot = ak_rand_below(&rand, rows->slots);
                set_live(rows, slot, false);
                if (ak_rand_below(&rand, 2)) {
                    continue;
                }
            }
            set_live(rows, slot, false);
            random_document(&rand, text);
            put(rows, columns, slot, text);
        }
        ak_buf_clear(&filter);
        random_group(&rand, &filter, 0);
        matched += compare(rows, columns, ak_buf_cstr(&filter));
    }
    CHECK(matched > 0);
    ak_buf_release(&filter);
}

TEST(columns, random_filters_give_what_reading_every_document_gives)
{
    struct rows *rows = new_rows();
    struct ak_columns *columns = open_columns(rows);
    run_model(columns, rows, 600);
    ak_columns_close(columns);
    ak_free(rows);
}

TEST(columns, answers_stay_right_when_columns_are_evicted_all_the_time)
{
    struct rows *rows = new_rows();
    struct ak_columns *columns = open_columns(rows);
    ak_columns_limit(columns, 2, 0);
    run_model(columns, rows, 200);
    ak_columns_close(columns);
    ak_free(rows);
}

TEST(columns, answers_stay_right_when_columns_outgrow_their_memory)
{
    struct rows *rows = new_rows();
    struct ak_columns *columns = open_columns(rows);
    ak_columns_limit(columns, 0, 40000);
    run_model(columns, rows, 200);
    CHECK(ak_columns_bytes(columns) < 60000);
    ak_columns_close(columns);
    ak_free(rows);
}

TEST(columns, every_kind_of_presence_is_told_apart)
{
    struct rows *rows = new_rows();
    struct ak_columns *columns = open_columns(rows);
    static const char *const documents[] = {"",
                                            "{}",
                                            "{\"k\":null}",
                                            "{\"k\":{}}",
                                            "{\"k\":[]}",
                                            "{\"k\":[null]}",
                                            "{\"k\":[1]}",
                                            "{\"k\":[1,1.0]}",
                                            "{\"k\":[1,2]}",
                                            "{\"k\":1}",
                                            "{\"k\":\"1\"}",
                                            "{\"k\":false}"};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        put(rows, columns, i, documents[i]);
    }
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"exists\":true}]}"), 9);
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"exists\":false}]}"), 3);
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"match\":1}]}"), 4);
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"match\":\"1\"}]}"), 1);
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"match\":[2,false]}]}"), 2);
    CHECK_INT(compare(rows, columns, "{\"must_not\":[{\"key\":\"k\",\"range\":{\"gte\":1}}]}"), 8);
    ak_columns_close(columns);
    ak_free(rows);
}

TEST(columns, a_column_reads_each_document_once_and_set_keeps_it_current)
{
    struct rows *rows = new_rows();
    struct ak_columns *columns = open_columns(rows);
    const char *filter =
        "{\"must\":[{\"key\":\"a\",\"match\":\"x\"},{\"key\":\"n\",\"range\":{\"gt\":1}}]}";
    for (uint64_t slot = 0; slot < 1000; slot++) {
        put(rows, columns, slot, slot % 3 ? "{\"a\":\"x\",\"n\":2}" : "{\"a\":\"y\",\"n\":2}");
    }
    CHECK_INT(compare(rows, columns, filter), 666);
    CHECK_INT(rows->reads, 1000); /* both columns in one reading */
    put(rows, columns, 1000, "{\"a\":\"x\",\"n\":3}");
    put(rows, columns, 0, "{\"a\":\"x\",\"n\":3}");
    CHECK_INT(compare(rows, columns, filter), 668);
    CHECK_INT(rows->reads, 1000);
    ak_columns_close(columns);
    ak_free(rows);
}

TEST(columns, a_dictionary_does_not_outgrow_the_rows_that_are_stored)
{
    struct rows *rows = new_rows();
    struct ak_columns *columns = open_columns(rows);
    char text[TEXT_MAX];
    put(rows, columns, 0, "{}");
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"exists\":true}]}"), 0);
    size_t settled = 0;
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(text, sizeof text, "{\"k\":[\"value %u\",%u,\"more %u\"]}", i, i, i);
        put(rows, columns, i % 100, text);
        settled = i == 1000 ? ak_columns_bytes(columns) : settled;
    }
    CHECK(ak_columns_bytes(columns) < settled + settled / 4);
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"match\":\"value 19999\"}]}"), 1);
    CHECK_INT(compare(rows, columns, "{\"must\":[{\"key\":\"k\",\"match\":\"value 19899\"}]}"), 0);
    ak_columns_close(columns);
    ak_free(rows);
}

#ifdef AK_FAULTS
TEST(columns, the_nth_allocation_fails_and_the_next_answer_is_right)
{
    struct rows *rows = new_rows();
    const char *text =
        "{\"must\":[{\"key\":\"a\",\"match\":[\"x\",\"z\\u0061\"]}],"
        "\"should\":[{\"key\":\"n\",\"range\":{\"lt\":50}},{\"key\":\"t\",\"exists\":true}]}";
    struct ak_err err;
    struct ak_arena arena;
    const struct ak_filter *filter = NULL;
    ak_arena_init(&arena, 0);
    CHECK_OK(ak_filter_parse(ak_str_of(text), &arena, &filter, &err));
    bool fired = true;
    for (int64_t n = 0; fired; n++) {
        struct ak_columns *columns = NULL;
        uint64_t out[SLOTS_MAX / 64];
        uint64_t count = 77;
        memset(rows, 0, sizeof *rows);
        for (uint64_t slot = 0; slot < 80; slot++) {
            char document[TEXT_MAX];
            (void)snprintf(document, sizeof document, "{\"a\":\"%s\",\"n\":%llu,\"t\":[%llu,2]}",
                           slot % 2 ? "x" : "z\\u0061", (unsigned long long)slot,
                           (unsigned long long)slot);
            put(rows, NULL, slot, document);
        }
        ak_fault_alloc_at(n);
        enum ak_rc rc = ak_columns_open(&columns, metadata_of, rows, &err);
        if (rc == AK_OK) {
            rc = ak_columns_match(columns, filter, rows->slots, rows->live, out, &count, &err);
            CHECK_INT(count, rc == AK_OK ? 80 : 77);
            put(rows, columns, 3, "{\"a\":\"w\",\"n\":[1,2,3]}");
        }
        fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(rc == AK_OK || rc == AK_NOMEM);
        if (columns) {
            CHECK_INT(compare(rows, columns, text), 79);
        }
        ak_columns_close(columns);
    }
    ak_arena_release(&arena);
    ak_free(rows);
}
#endif

/* --- Threads: slots [0, STABLE) never change, a writer cycles through the others --- */

#define STABLE 1500u
#define READERS 3

struct race {
    struct rows *rows;
    struct ak_columns *columns;
    const struct ak_filter *filters[3];
    uint64_t want[3]; /* in the stable part */
    uint64_t live[SLOTS_MAX / 64];
    _Atomic bool stop;
    _Atomic uint64_t matches;
};

static void match_all_the_time(void *arg)
{
    struct race *race = arg;
    struct ak_err err;
    uint64_t out[SLOTS_MAX / 64];
    while (!atomic_load(&race->stop)) {
        for (size_t f = 0; f < 3; f++) {
            uint64_t count = 0;
            CHECK_OK(ak_columns_match(race->columns, race->filters[f], STABLE, race->live, out,
                                      &count, &err));
            CHECK_INT(count, race->want[f]);
            atomic_fetch_add(&race->matches, 1);
        }
    }
}

TEST(columns, matches_agree_while_a_writer_stores_and_columns_come_and_go)
{
    static const char *const texts[] = {
        "{\"must\":[{\"key\":\"a\",\"match\":\"x\"}]}",
        "{\"should\":[{\"key\":\"n\",\"range\":{\"gte\":100}},{\"key\":\"b\",\"exists\":true}]}",
        "{\"must_not\":[{\"key\":\"tags\",\"match\":[\"x\",1]}]}"};
    struct ak_err err;
    struct ak_rand rand;
    struct ak_arena arena;
    struct ak_thread readers[READERS];
    struct rows *rows = new_rows();
    struct race race = {.rows = rows, .columns = open_columns(rows)};
    char text[TEXT_MAX];
    ak_arena_init(&arena, 0);
    ak_rand_seed(&rand, ak_test_seed());
    ak_columns_limit(race.columns, 4, 0); /* six keys in all: columns are evicted and read again */
    for (uint64_t slot = 0; slot < STABLE; slot++) {
        random_document(&rand, text);
        put(rows, race.columns, slot, text);
    }
    memcpy(race.live, rows->live, sizeof race.live);
    for (size_t f = 0; f < 3; f++) {
        CHECK_OK(ak_filter_parse(ak_str_of(texts[f]), &arena, &race.filters[f], &err));
        for (uint64_t slot = 0; slot < STABLE; slot++) {
            race.want[f] += ak_filter_matches(race.filters[f], ak_str_of(rows->text[slot]));
        }
    }
    for (size_t i = 0; i < READERS; i++) {
        CHECK_OK(ak_thread_start(&readers[i], "reader", match_all_the_time, &race, &err));
    }
    uint64_t cycles = 0;
    while (atomic_load(&race.matches) < 300 || cycles < 2) {
        for (uint64_t slot = STABLE; slot < SLOTS_MAX; slot++) {
            random_document(&rand, text);
            put(rows, race.columns, slot, text);
        }
        cycles++;
    }
    atomic_store(&race.stop, true);
    for (size_t i = 0; i < READERS; i++) {
        ak_thread_join(&readers[i]);
    }
    for (size_t f = 0; f < 3; f++) {
        (void)compare(rows, race.columns, texts[f]);
    }
    ak_columns_close(race.columns);
    ak_arena_release(&arena);
    ak_free(rows);
}

TEST_MAIN()

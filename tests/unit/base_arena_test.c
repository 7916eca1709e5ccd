/* base_arena_test.c — bump allocation: alignment, ceiling, reset, failure. */
#include "base/arena.h"
#include "base/fault.h"
#include "base/rand.h"
#include "support/test.h"

TEST(arena, allocations_are_aligned_and_do_not_overlap)
{
    struct ak_arena arena;
    struct ak_rand rand;
    struct {
        unsigned char *p;
        size_t size;
    } given[2000];
    ak_arena_init(&arena, 0);
    ak_rand_seed(&rand, ak_test_seed());
    for (size_t i = 0; i < 2000; i++) {
        size_t align = (size_t)1 << ak_rand_below(&rand, 13);
        size_t size = ak_rand_below(&rand, 50) == 0 ? 100000 : (size_t)ak_rand_below(&rand, 300);
        given[i].p = ak_arena_alloc_aligned(&arena, align, size);
        given[i].size = size;
        CHECK(given[i].p != NULL);
        CHECK((uintptr_t)given[i].p % align == 0 && (uintptr_t)given[i].p % 16 == 0);
        memset(given[i].p, (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < 2000; i++) {
        for (size_t j = 0; j < given[i].size; j++) {
            if (given[i].p[j] != (i & 0xff)) {
                CHECK_INT(given[i].p[j], i & 0xff);
            }
        }
    }
    ak_arena_release(&arena);
    ak_arena_release(&arena);
    CHECK(arena.head == NULL && arena.used == 0);
}

TEST(arena, never_gives_out_more_than_its_ceiling)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 1000);
    CHECK(ak_arena_alloc(&arena, 1001) == NULL);
    size_t n = 0;
    while (ak_arena_alloc(&arena, 16)) {
        n++;
    }
    CHECK_INT(n, 62);
    CHECK_INT(arena.used, 992);
    CHECK(ak_arena_alloc(&arena, SIZE_MAX) == NULL);
    CHECK(ak_arena_alloc_aligned(&arena, (size_t)1 << 62, SIZE_MAX - 5) == NULL);
    ak_arena_reset(&arena);
    CHECK_INT(arena.used, 0);
    CHECK(ak_arena_alloc(&arena, 1000 - 1000 % 16) != NULL);
    CHECK(ak_arena_alloc(&arena, 0) == NULL);
    ak_arena_release(&arena);
}

TEST(arena, a_reset_arena_serves_from_the_block_it_kept)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    for (int i = 0; i < 100; i++) {
        CHECK(ak_arena_alloc(&arena, 1000) != NULL);
    }
    ak_arena_reset(&arena);
    struct ak_arena_block *kept = arena.head;
    CHECK(kept != NULL);
    CHECK(ak_arena_alloc(&arena, 1000) != NULL);
    CHECK(arena.head == kept);
    ak_arena_release(&arena);
}

TEST(arena, a_reset_gives_a_huge_block_back)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    CHECK(ak_arena_alloc(&arena, (size_t)8 << 20) != NULL);
    ak_arena_reset(&arena);
    CHECK(arena.head == NULL);
    CHECK(ak_arena_alloc(&arena, 8) != NULL);
    ak_arena_release(&arena);
}

TEST(arena, a_large_request_does_not_waste_the_open_block)
{
    struct ak_arena arena;
    ak_arena_init(&arena, 0);
    char *first = ak_arena_alloc(&arena, 16);
    CHECK(ak_arena_alloc(&arena, 1 << 20) != NULL);
    CHECK(ak_arena_alloc(&arena, 16) == first + 16);
    ak_arena_release(&arena);
}

TEST(arena, strings_are_copied_and_terminated)
{
    struct ak_arena arena;
    char source[] = "abcdef";
    ak_arena_init(&arena, 0);
    struct ak_str copy = ak_arena_str(&arena, (struct ak_str){source, 3});
    source[0] = 'x';
    CHECK_INT(copy.len, 3);
    CHECK_STR(copy.p, "abc");
    CHECK_STR(ak_arena_str(&arena, AK_STR_NONE).p, "");
    ak_arena_release(&arena);
    ak_arena_init(&arena, 8);
    CHECK(ak_arena_str(&arena, AK_STR("longer than the ceiling")).p == NULL);
}

#ifdef AK_FAULTS
TEST(arena, works_on_after_any_allocation_failed)
{
    for (int64_t nth = 0;; nth++) {
        struct ak_arena arena;
        ak_arena_init(&arena, 0);
        ak_fault_alloc_at(nth);
        size_t failed = 0;
        for (size_t i = 0; i < 40; i++) {
            failed += ak_arena_alloc_aligned(&arena, 64, i * 1000) == NULL;
        }
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK_INT(failed, fired);
        CHECK(ak_arena_alloc(&arena, 100000) != NULL);
        ak_arena_release(&arena);
        if (!fired) {
            break;
        }
    }
}
#endif

TEST_MAIN()

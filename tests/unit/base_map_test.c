/* base_map_test.c — the table against a plain array, with good hashes and with terrible ones. */
#include "base/fault.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/rand.h"
#include "support/test.h"

#define KEYS 4000u

/* Values are their own keys: value v stands for the key v >> 3, so that a replacement shows. */
static bool same(const void *ctx, uint32_t value, const void *key)
{
    (void)ctx;
    return value >> 3 == *(const uint32_t *)key;
}

static uint64_t good_hash(uint32_t key)
{
    return ak_mix64(key + 1);
}

/* 16 tags for all keys, neighbours at the end of the table: long runs that wrap around. */
static uint64_t terrible_hash(uint32_t key)
{
    return (uint64_t)(0xfffffff8u + key % 16) << 32;
}

static void check_all(const struct ak_map *map, const uint32_t *model, uint32_t keys,
                      uint64_t (*hash)(uint32_t))
{
    uint32_t count = 0;
    for (uint32_t key = 0; key < keys; key++) {
        CHECK_INT(ak_map_get(map, hash(key), &key, same, NULL), model[key]);
        count += model[key] != AK_MAP_NONE;
    }
    CHECK_INT(map->count, count);
}

static void run_model(uint64_t (*hash)(uint32_t), uint32_t keys, int steps)
{
    static uint32_t model[KEYS];
    struct ak_err err;
    struct ak_rand rand;
    struct ak_map map;
    ak_rand_seed(&rand, ak_test_seed());
    ak_map_init(&map);
    memset(model, 0xff, sizeof model);
    for (int step = 0; step < steps; step++) {
        uint32_t key = (uint32_t)ak_rand_below(&rand, keys);
        bool is_growing = step / (steps / 6) % 2 == 0;
        if (ak_rand_below(&rand, 4) < (is_growing ? 3 : 1)) {
            uint32_t value = key << 3 | (uint32_t)ak_rand_below(&rand, 8);
            uint32_t old = 123;
            CHECK_OK(ak_map_put(&map, hash(key), &key, value, same, NULL, &old, &err));
            CHECK_INT(old, model[key]);
            model[key] = value;
        } else {
            CHECK_INT(ak_map_remove(&map, hash(key), &key, same, NULL), model[key]);
            model[key] = AK_MAP_NONE;
        }
        if (step % (steps / 50) == 0) {
            check_all(&map, model, keys, hash);
        }
    }
    for (uint32_t key = 0; key < keys; key++) {
        CHECK_INT(ak_map_remove(&map, hash(key), &key, same, NULL), model[key]);
        model[key] = AK_MAP_NONE;
    }
    check_all(&map, model, keys, hash);
    CHECK_INT(ak_map_bytes(&map), 8 * 8);
    ak_map_release(&map);
    ak_map_release(&map);
}

TEST(map, behaves_like_a_plain_array)
{
    run_model(good_hash, KEYS, 60000);
    run_model(good_hash, 5, 3000);
}

TEST(map, stays_right_when_nearly_every_tag_collides)
{
    run_model(terrible_hash, 300, 10000);
}

TEST(map, an_empty_map_answers_and_owns_nothing)
{
    struct ak_map map;
    uint32_t key = 3;
    ak_map_init(&map);
    CHECK_INT(ak_map_get(&map, 1, &key, same, NULL), AK_MAP_NONE);
    CHECK_INT(ak_map_remove(&map, 1, &key, same, NULL), AK_MAP_NONE);
    CHECK_INT(ak_map_bytes(&map), 0);
    CHECK_RC(AK_TOO_BIG, ak_map_reserve(&map, UINT32_MAX, NULL));
    ak_map_release(&map);
}

TEST(map, costs_at_most_19_bytes_an_entry_while_it_grows)
{
    struct ak_err err;
    struct ak_map map;
    ak_map_init(&map);
    for (uint32_t key = 0; key < 100000; key++) {
        CHECK_OK(ak_map_put(&map, good_hash(key), &key, key << 3, same, NULL, NULL, &err));
        CHECK(map.count < 100 || ak_map_bytes(&map) < 19 * (size_t)map.count);
    }
    ak_map_release(&map);
}

#ifdef AK_FAULTS
TEST(map, loses_nothing_when_an_allocation_fails)
{
    for (int64_t nth = 0;; nth++) {
        static uint32_t model[KEYS];
        struct ak_map map;
        uint32_t refused = 0;
        ak_map_init(&map);
        memset(model, 0xff, sizeof model);
        ak_fault_alloc_at(nth);
        for (uint32_t key = 0; key < KEYS; key++) {
            enum ak_rc rc =
                ak_map_put(&map, good_hash(key), &key, key << 3, same, NULL, NULL, NULL);
            CHECK(rc == AK_OK || rc == AK_NOMEM);
            model[key] = rc == AK_OK ? key << 3 : AK_MAP_NONE;
            refused += rc != AK_OK;
        }
        for (uint32_t key = 0; key < KEYS - 10; key++) { /* shrinking may fail, silently */
            CHECK_INT(ak_map_remove(&map, good_hash(key), &key, same, NULL), model[key]);
            model[key] = AK_MAP_NONE;
        }
        bool fired = ak_fault_alloc_fired();
        ak_fault_alloc_at(-1);
        CHECK(refused <= 1 && (fired || refused == 0));
        check_all(&map, model, KEYS, good_hash);
        ak_map_release(&map);
        if (!fired) {
            break;
        }
    }
}

TEST(map, puts_within_a_reservation_cannot_fail)
{
    struct ak_err err;
    struct ak_map map;
    ak_map_init(&map);
    for (uint32_t key = 0; key < 50; key++) {
        CHECK_OK(ak_map_put(&map, good_hash(key), &key, key << 3, same, NULL, NULL, &err));
    }
    ak_fault_alloc_at(0);
    size_t before = ak_map_bytes(&map);
    CHECK_RC(AK_NOMEM, ak_map_reserve(&map, 3000, &err));
    CHECK_INT(ak_map_bytes(&map), before);
    CHECK_OK(ak_map_reserve(&map, 3000, &err));
    for (uint32_t key = 0; key < 50; key++) { /* sparse now, but the promise stands */
        CHECK(ak_map_remove(&map, good_hash(key), &key, same, NULL) == key << 3);
    }
    for (uint32_t key = 0; key < 3000; key++) {
        ak_fault_alloc_at(0);
        CHECK_OK(ak_map_put(&map, good_hash(key), &key, key << 3, same, NULL, NULL, &err));
        CHECK(!ak_fault_alloc_fired());
    }
    ak_fault_alloc_at(-1);
    size_t full = ak_map_bytes(&map);
    for (uint32_t key = 0; key < 2990; key++) {
        CHECK(ak_map_remove(&map, good_hash(key), &key, same, NULL) == key << 3);
    }
    CHECK(ak_map_bytes(&map) < full / 16); /* kept, the promise no longer holds memory */
    ak_map_release(&map);
}
#endif

TEST_MAIN()

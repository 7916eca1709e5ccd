/* json_keys.c — a key may appear once per object: the list of keys seen in the open objects.
 *
 * A key is compared with the object's other keys while they are few. From SEEN_LINEAR_MAX on an
 * index over the whole list is kept. Its probes are capped: keys made to collide are refused rather
 * than compared, so that the time stays linear in the size of the text.
 *
 * I1  With an index, every entry of `seen` is in it and cells were filled in the order of `seen`.
 *     Objects close in the reverse order, so emptying cells from the last entry backwards restores
 *     the table to what it was: linear probing needs no tombstones here.
 */
#include "base/hash.h"
#include "base/json_priv.h"
#include "base/mem.h"

#define SEEN_LINEAR_MAX 64
#define SEEN_CAP_MIN 16
#define PROBES_MAX 128 /* at a load ≤ 1/3 honest keys need that many once in e^55 */

/* The same name in two objects must not share a probe path: `keys_at` tells the objects apart. */
static uint64_t key_hash(const struct ak_json *in, struct ak_str key, uint32_t keys_at)
{
    return ak_mix64(ak_hash64_str(key) ^ (uintptr_t)in->begin ^ ((uint64_t)keys_at << 32));
}

enum probe { PROBE_FREE, PROBE_FOUND, PROBE_TOO_LONG };

/* Look `key` up among the entries from keys_at on; *cell is where it is or would go. */
static enum probe index_probe(const struct ak_json *in, struct ak_str key, uint32_t keys_at,
                              uint32_t *cell)
{
    uint32_t mask = in->index_cells - 1;
    uint32_t at = (uint32_t)key_hash(in, key, keys_at) & mask;
    for (int i = 0; i < PROBES_MAX; i++, at = (at + 1) & mask) {
        uint32_t entry = in->index[at];
        if (entry == 0) {
            *cell = at;
            return PROBE_FREE;
        }
        if (entry > keys_at && ak_str_eq(in->seen[entry - 1], key)) {
            *cell = at;
            return PROBE_FOUND;
        }
    }
    return PROBE_TOO_LONG;
}

/* A table of `cells` over all of `seen` (I1). */
static bool index_build(struct ak_json *in, uint32_t cells)
{
    uint32_t *fresh = ak_try_zalloc(cells * sizeof *fresh);
    if (!fresh) {
        return ak_json_fail_memory(in, "no memory for %u keys", in->seen_count);
    }
    ak_free(in->index);
    in->index = fresh;
    in->index_cells = cells;
    for (unsigned i = 0; i < in->depth; i++) {
        uint32_t from = in->levels[i].keys_at;
        uint32_t to = i + 1 < in->depth ? in->levels[i + 1].keys_at : in->seen_count;
        for (uint32_t k = from; k < to; k++) {
            uint32_t cell = 0;
            if (index_probe(in, in->seen[k], from, &cell) != PROBE_FREE) {
                ak_json_fail(in, "too many keys with the same hash");
                return false;
            }
            in->index[cell] = k + 1;
        }
    }
    return true;
}

static bool index_fits(struct ak_json *in)
{
    if (in->index && (uint64_t)(in->seen_count + 1) * 3 <= in->index_cells) {
        return true;
    }
    uint32_t cells = 4 * SEEN_LINEAR_MAX;
    while (cells < (in->seen_count + 1) * 6) { /* ≤ 6 × AK_JSON_KEYS_MAX: no overflow */
        cells *= 2;
    }
    return index_build(in, cells);
}

static bool seen_fits(struct ak_json *in)
{
    if (in->seen_count < in->seen_cap) {
        return true;
    }
    if (in->seen_count >= AK_JSON_KEYS_MAX) {
        ak_json_fail(in, "more than %u keys", AK_JSON_KEYS_MAX);
        return false;
    }
    uint32_t cap = in->seen_cap ? in->seen_cap * 2 : SEEN_CAP_MIN;
    struct ak_str *seen = ak_try_realloc(in->seen, cap * sizeof *seen);
    if (!seen) {
        return ak_json_fail_memory(in, "no memory for %u keys", cap);
    }
    in->seen = seen;
    in->seen_cap = cap;
    return true;
}

static bool seen_linear(const struct ak_json *in, struct ak_str key, uint32_t keys_at)
{
    for (uint32_t i = keys_at; i < in->seen_count; i++) {
        if (ak_str_eq(in->seen[i], key)) {
            return true;
        }
    }
    return false;
}

/* Add `key` to the open object; a failure when it is there already. */
bool ak_json_remember(struct ak_json *in, struct ak_str key)
{
    uint32_t keys_at = in->levels[in->depth - 1].keys_at;
    bool indexed = in->index || in->seen_count - keys_at >= SEEN_LINEAR_MAX;
    uint32_t cell = 0;
    enum probe found = PROBE_FREE;
    if (!seen_fits(in) || (indexed && !index_fits(in))) {
        return false;
    }
    if (indexed) {
        found = index_probe(in, key, keys_at, &cell);
    } else if (seen_linear(in, key, keys_at)) {
        found = PROBE_FOUND;
    }
    if (found != PROBE_FREE) {
        struct ak_str name = ak_json_shown(key);
        ak_json_fail_key(in, key,
                         found == PROBE_FOUND ? "the key '%.*s' appears twice"
                                              : "too many keys with the hash of '%.*s'",
                         AK_STR_ARG(name));
        return false;
    }
    in->seen[in->seen_count++] = key;
    if (indexed) {
        in->index[cell] = in->seen_count;
    }
    return true;
}

void ak_json_leave(struct ak_json *in)
{
    uint32_t keys_at = in->levels[--in->depth].keys_at;
    while (in->seen_count > keys_at) {
        in->seen_count--;
        uint32_t cell = 0;
        if (in->index && index_probe(in, in->seen[in->seen_count], keys_at, &cell) == PROBE_FOUND) {
            in->index[cell] = 0;
        }
    }
    in->key = in->seen_count ? in->seen[in->seen_count - 1] : AK_STR_NONE;
}

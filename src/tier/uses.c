/* uses.c — how often collections were used lately: a ring of twelve counts each.
 *
 * The engine counts accesses since its start; each look enters what was added, at the time of the
 * last access. A window is whole to within a twelfth of it. What a former life counted comes back
 * from the engine as one count, placed where its window began: it runs out too early rather than
 * too late.
 */
#include "base/mem.h"
#include "tier/manager_priv.h"
#include <string.h>

void ak_tier_uses_init(struct ak_tier_uses *uses)
{
    *uses = (struct ak_tier_uses){0};
    ak_map_init(&uses->by_id);
}

void ak_tier_uses_release(struct ak_tier_uses *uses)
{
    ak_map_release(&uses->by_id);
    ak_free(uses->list);
    ak_tier_uses_init(uses);
}

static bool same_id(const void *ctx, uint32_t value, const void *key)
{
    const struct ak_tier_uses *uses = ctx;
    return ak_uuid_eq(&uses->list[value].id, key);
}

struct ak_tier_use *ak_tier_uses_find(struct ak_tier_uses *uses, const struct ak_uuid *id)
{
    uint32_t at = ak_map_get(&uses->by_id, ak_uuid_hash(id), id, same_id, uses);
    return at == AK_MAP_NONE ? NULL : &uses->list[at];
}

/* NULL: no memory. */
static struct ak_tier_use *make(struct ak_tier_uses *uses, const struct ak_uuid *id,
                                struct ak_err *err)
{
    if (!uses->list || uses->count == uses->cap) {
        uint32_t cap = uses->cap ? uses->cap * 2 : 256;
        struct ak_tier_use *list = ak_try_realloc(uses->list, cap * sizeof *list);
        if (!list) {
            (void)ak_fail(err, AK_NOMEM, "uses of %u collections", cap);
            return NULL;
        }
        uses->list = list;
        uses->cap = cap;
    }
    struct ak_tier_use *made = &uses->list[uses->count];
    *made = (struct ak_tier_use){.id = *id};
    if (ak_map_put(&uses->by_id, ak_uuid_hash(id), id, uses->count, same_id, uses, NULL, err) !=
        AK_OK) {
        return NULL;
    }
    uses->count++;
    return made;
}

/* --- The ring --- */

static int64_t bucket_at(const struct ak_tier_use *use, int64_t at_us)
{
    return at_us / use->width_us;
}

static uint32_t *count_of(struct ak_tier_use *use, int64_t bucket)
{
    return &use->counts[(uint64_t)bucket % AK_TIER_BUCKETS];
}

static void add(struct ak_tier_use *use, int64_t at_us, uint32_t n)
{
    int64_t bucket = bucket_at(use, at_us);
    if (bucket >= use->bucket + AK_TIER_BUCKETS) {
        memset(use->counts, 0, sizeof use->counts);
        use->bucket = bucket;
    }
    while (use->bucket < bucket) {
        *count_of(use, ++use->bucket) = 0;
    }
    if (bucket > use->bucket - AK_TIER_BUCKETS) {
        uint32_t *count = count_of(use, bucket);
        *count = *count > UINT32_MAX - n ? UINT32_MAX : *count + n;
    }
}

uint32_t ak_tier_use_sum(const struct ak_tier_use *use, int64_t now_us)
{
    uint64_t sum = 0;
    int64_t now = bucket_at(use, now_us);
    for (int64_t back = 0; back < AK_TIER_BUCKETS; back++) {
        int64_t bucket = use->bucket - back;
        if (bucket > now - AK_TIER_BUCKETS && bucket >= 0) {
            sum += use->counts[(uint64_t)bucket % AK_TIER_BUCKETS];
        }
    }
    return sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
}

int64_t ak_tier_use_from(const struct ak_tier_use *use, int64_t now_us)
{
    int64_t now = bucket_at(use, now_us);
    for (int64_t back = AK_TIER_BUCKETS - 1; back >= 0; back--) {
        int64_t bucket = use->bucket - back;
        if (bucket > now - AK_TIER_BUCKETS && bucket >= 0 &&
            use->counts[(uint64_t)bucket % AK_TIER_BUCKETS]) {
            return bucket * use->width_us;
        }
    }
    return 0;
}

void ak_tier_use_forget(struct ak_tier_use *use)
{
    memset(use->counts, 0, sizeof use->counts);
    use->changed = true;
}

/* The rules say another window: what was counted becomes one count. */
static void set_width(struct ak_tier_use *use, int64_t window_us, int64_t now_us)
{
    int64_t width_us = window_us / AK_TIER_BUCKETS;
    width_us = width_us > 0 ? width_us : 1;
    if (use->width_us != width_us) {
        uint32_t sum = use->width_us ? ak_tier_use_sum(use, now_us) : 0;
        memset(use->counts, 0, sizeof use->counts);
        use->width_us = width_us;
        use->bucket = bucket_at(use, now_us);
        *count_of(use, use->bucket) = sum;
    }
}

enum ak_rc ak_tier_uses_enter(struct ak_tier_uses *uses, const struct ak_tier_view *view,
                              int64_t window_us, int64_t now_us, struct ak_tier_use **out,
                              struct ak_err *err)
{
    struct ak_tier_use *use = ak_tier_uses_find(uses, &view->id);
    bool is_new = !use;
    if (!use && !(use = make(uses, &view->id, err))) {
        return AK_NOMEM;
    }
    set_width(use, window_us, now_us);
    if (is_new && view->window_accesses && view->window_from_us > now_us - window_us &&
        view->window_from_us <= now_us) {
        add(use, view->window_from_us, view->window_accesses);
    }
    uint32_t fresh = view->accesses - use->accesses; /* the engine's count wraps */
    if (fresh) {
        /* One from the future was counted by a clock that has been set back since. */
        int64_t at_us = view->last_access_us < now_us ? view->last_access_us : now_us;
        add(use, at_us, fresh);
        use->accesses = view->accesses;
        use->changed = true;
    }
    use->scan = uses->scan;
    *out = use;
    return AK_OK;
}

/* Moving the rest up needs a new map; so it waits until that pays. */
void ak_tier_uses_sweep(struct ak_tier_uses *uses)
{
    uint32_t gone = 0;
    for (uint32_t i = 0; i < uses->count; i++) {
        gone += uses->list[i].scan != uses->scan;
    }
    if (gone <= uses->count / 8 + 64) {
        return;
    }
    struct ak_map map;
    ak_map_init(&map);
    if (ak_map_reserve(&map, uses->count - gone, NULL) != AK_OK) {
        return; /* what is gone costs memory until the next time */
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < uses->count; i++) {
        if (uses->list[i].scan == uses->scan) {
            uses->list[kept] = uses->list[i];
            enum ak_rc rc = ak_map_put(&map, ak_uuid_hash(&uses->list[kept].id),
                                       &uses->list[kept].id, kept, same_id, uses, NULL, NULL);
            AK_ASSERT(rc == AK_OK); /* reserved */
            kept++;
        }
    }
    uses->count = kept;
    ak_map_release(&uses->by_id);
    uses->by_id = map;
}

/* hnsw_build.c — linking pending rows into the graph, by any number of threads.
 *
 * One row: walk to it as a search would, with ef_construction; choose links on each of its levels;
 * write its own rows; then, one neighbour at a time under that neighbour's lock, link back. A
 * neighbour whose row is full chooses anew among its links and the new one, and keeps a little less
 * than a full row, so that the next few who come find a place without choosing again.
 *
 * The first rows are linked by one builder at a time: many builders that all see an almost empty
 * graph do not see each other, and a graph with a bad core stays bad.
 */
#include "index/index_priv.h"

#define SLACK_PARTS 8 /* a row that overflowed keeps all but an eighth of its places */
#define COPIES_ASKED 4
#define FORMERS 8 /* rows before this one that are asked for: 1, 2, 4 … 128 slots back */
#define PRODUCT_EF 64
#define CROWDING_RANK 10
#define CAP_FACTOR 4 /* tombstones a walk may keep, in multiples of ef_construction */

struct build {
    struct ak_index *index;
    struct ak_context *context;
    struct ak_walk walk;
    uint32_t slot;
    uint32_t again;                         /* see ak_hnsw_link */
    _Alignas(64) int8_t room[AK_CODE_ROOM]; /* of the walk's measure */
};

void ak_hnsw_walk_init(const struct ak_index *index, struct ak_context *context, uint64_t slots,
                       struct ak_walk *walk)
{
    *walk = (struct ak_walk){
        .links = (const uint32_t *)(const void *)ak_slab_base(&index->links),
        .upper = (const uint32_t *)(const void *)ak_slab_base(&index->upper),
        .upper_at = (const uint32_t *)(const void *)ak_slab_base(&index->upper_at),
        .degree = index->degree,
        .upper_degree = index->upper_degree,
        .limit = (uint32_t)slots,
        .context = context,
    };
}

bool ak_hnsw_prepare(struct ak_index *index, struct ak_context *context, uint64_t *slots)
{
    *slots = ak_index_slots(index);
    return ak_context_fit_visited(context, *slots) &&
           ak_context_fit_pool(context, CAP_FACTOR * index->options.params.ef_construction) &&
           ak_context_fit_found(context, index->degree) && ak_context_fit_build(index, context);
}

static bool is_dead(const struct ak_index *index, uint32_t slot)
{
    return ak_bits_test(ak_index_words(&index->dead), slot);
}

/* --- Linking back --- */

static bool has(const uint32_t *links, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (links[i] == slot) {
            return true;
        }
    }
    return false;
}

/* A full row and one more: choose. Returns how many are in `links`. A row linked again is forced in
 * and no more than one link is dropped for it: whoever that one led to must not be lost instead. */
static uint32_t choose_anew(const struct build *build, uint32_t row, uint32_t level,
                            uint32_t *links, struct ak_found newcomer)
{
    uint32_t degree = ak_index_degree(build->index, level);
    struct ak_found found[AK_DEGREE_MAX + 1];
    uint32_t scratch[AK_DEGREE_MAX + 1];
    float distances[AK_DEGREE_MAX + 4];
    _Alignas(64) int8_t room[AK_CODE_ROOM];
    struct ak_measure measure;
    ak_measure_for_row(build->index, row, room, &measure);
    for (uint32_t i = 0; i < degree; i++) {
        ak_prefetch(ak_measure_row(&measure, links[i]));
    }
    ak_measure_rows(&measure, links, degree, distances);
    for (uint32_t i = 0; i < degree; i++) {
        found[i] = (struct ak_found){ak_measure_true(&measure, distances[i]), links[i]};
    }
    found[degree] = newcomer;
    ak_hnsw_sort(found, degree + 1, row);
    struct ak_choice choice = {.row = row,
                               .level = level,
                               .candidates = found,
                               .count = degree + 1,
                               .max = build->again ? degree : degree - degree / SLACK_PARTS,
                               .chosen = links,
                               .scratch = scratch};
    uint32_t count = ak_hnsw_choose(build->index, &choice);
    if (build->again && !has(links, count, newcomer.slot)) {
        links[count - 1] = newcomer.slot;
    }
    return count;
}

/* false: the row is full and stays as it is. */
static bool link_back(const struct build *build, uint32_t to, uint32_t level, float distance,
                      bool when_full)
{
    struct ak_index *index = build->index;
    uint32_t degree = ak_index_degree(index, level);
    uint32_t *row = ak_index_row(index, to, level);
    uint32_t links[AK_DEGREE_MAX + 1];
    ak_node_lock(index, to);
    uint32_t count = ak_hnsw_read_row(row, degree, links);
    bool linked = has(links, count, build->slot);
    if (!linked && count < degree) {
        ak_link_set(&row[count], build->slot);
        linked = true;
    } else if (!linked && when_full) {
        count = choose_anew(build, to, level, links, (struct ak_found){distance, build->slot});
        ak_hnsw_write_row(row, degree, links, count);
        linked = true;
    }
    ak_node_unlock(index, to);
    return linked;
}

/* --- Choosing --- */

/* How distance grows with rank, from the tenth and the last of a full pool: distance ~
 * rank^crowding, so this is the inverse of the local intrinsic dimension. Searches take their reach
 * from its running mean. Relaxed: a statistic, and a lost update does no harm. */
static void observe_crowding(struct build *build, uint32_t count)
{
    struct ak_index *index = build->index;
    const struct ak_found *candidates = build->context->candidates;
    uint32_t ef = index->options.params.ef_construction;
    if (count < ef || !(candidates[CROWDING_RANK - 1].distance > build->walk.measure.slack)) {
        return;
    }
    float ratio = candidates[ef - 1].distance / candidates[CROWDING_RANK - 1].distance;
    float seen = 0.5f * logf(ratio) / logf((float)ef / CROWDING_RANK);
    float mean = atomic_load_explicit(&index->crowding, memory_order_relaxed);
    mean = mean > 0.0f ? mean + (seen - mean) / 256.0f : seen;
    atomic_store_explicit(&index->crowding, mean, memory_order_relaxed);
}

static void begin_walk(const struct build *build)
{
    ak_context_reset(build->context);
    if (build->slot < build->walk.limit) {
        ak_context_visit(build->context, build->slot); /* not its own neighbour */
    }
}

/* The pool of the last walk as candidates, true distances, tombstones left out. */
static uint32_t candidates_of_pool(struct build *build)
{
    struct ak_context *context = build->context;
    uint32_t n = 0;
    for (uint32_t i = 0; i < context->pool_count && n < context->candidates_cap; i++) {
        uint32_t slot = context->pool_id[i] & ~AK_POOL_DONE;
        if (slot != build->slot && !is_dead(build->index, slot)) {
            context->candidates[n++] = (struct ak_found){
                ak_measure_true(&build->walk.measure, context->pool_distance[i]), slot};
        }
    }
    return n;
}

static bool is_among(const struct ak_found *candidates, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (candidates[i].slot == slot) {
            return true;
        }
    }
    return false;
}

/* Another walk on level 0; the first `most` rows of its pool join the candidates. */
static uint32_t add_by_walk(struct build *build, struct ak_walk *walk, uint32_t seed, uint32_t most,
                            uint32_t count)
{
    struct ak_context *context = build->context;
    uint32_t had = count;
    begin_walk(build);
    build->index->walk->beam(walk, seed, 0);
    for (uint32_t i = 0; i < context->pool_count && i < most; i++) {
        uint32_t slot = context->pool_id[i] & ~AK_POOL_DONE;
        bool known = slot == build->slot || is_dead(build->index, slot) ||
                     is_among(context->candidates, had, slot);
        if (!known && count < context->candidates_cap) {
            float distance = ak_measure_one(&build->walk.measure, slot);
            context->candidates[count++] =
                (struct ak_found){ak_measure_true(&build->walk.measure, distance), slot};
        }
    }
    return count;
}

/* dot: a second walk, for the rows of largest inner product with this one. */
static uint32_t add_by_product(struct build *build, uint32_t seed, uint32_t count)
{
    struct ak_walk walk = build->walk;
    ak_measure_for_query(build->index, walk.measure.query, 1.0f, &walk.measure);
    walk.ef = PRODUCT_EF;
    return add_by_walk(build, &walk, seed, PRODUCT_EF / 2, count);
}

/* Of some rows that were added before this one, the nearest that the walk has not met though it is
 * nearer than the farthest of its pool; or AK_LINK_NONE. */
static uint32_t former_not_met(const struct build *build)
{
    const struct ak_context *context = build->context;
    const uint64_t *linked = ak_index_words(&build->index->linked);
    uint32_t nearest = AK_LINK_NONE;
    float bound = INFINITY;
    if (context->pool_count >= build->walk.ef) {
        bound = context->pool_distance[build->walk.ef - 1];
    }
    for (uint32_t i = 0; i < FORMERS && build->slot >> i; i++) {
        uint32_t slot = build->slot - (1u << i);
        if (slot >= build->walk.limit || context->visited[slot / 64] >> (slot % 64) & 1 ||
            !ak_bits_test(linked, slot) || is_dead(build->index, slot)) {
            continue;
        }
        float distance = ak_measure_one(&build->walk.measure, slot);
        if (distance < bound) {
            bound = distance;
            nearest = slot;
        }
    }
    return nearest;
}

/* Rows that follow one another are often near one another, as the chunks of a text or the moments
 * of a series are. Then the graph grows along a path, and where the path comes back to where it
 * began, a walk from the one side ends there and knows nothing of the other: linked to one side
 * only, each next row would leave the gap open for ever, and searches from the wrong side end at it
 * whatever their ef. A former row that should have been met tells of such a gap, and a walk from it
 * closes it. Where rows come in no order this measures eight rows and finds nothing. */
static uint32_t add_by_former(struct build *build, uint32_t former, uint32_t count)
{
    return add_by_walk(build, &build->walk, former, build->walk.ef, count);
}

/* A pool full of copies of the row shows nothing of what lies around them, and links among copies
 * alone would make an island. Some copies' own links lead out: take those as candidates too. */
static uint32_t add_links_of_copies(struct build *build, uint32_t level, uint32_t count)
{
    struct ak_index *index = build->index;
    struct ak_found *candidates = build->context->candidates;
    uint32_t copies = 0;
    while (copies < count && candidates[copies].distance <= build->walk.measure.slack) {
        copies++;
    }
    if (copies < count / 2 + 1 || copies < ak_index_degree(index, level)) {
        return count;
    }
    for (uint32_t i = 0; i < COPIES_ASKED; i++) {
        uint32_t links[AK_DEGREE_MAX];
        float distances[AK_DEGREE_MAX + 4];
        uint32_t n = ak_hnsw_read_row(ak_index_row(index, candidates[i].slot, level),
                                      ak_index_degree(index, level), links);
        ak_measure_rows(&build->walk.measure, links, n, distances);
        for (uint32_t j = 0; j < n && count < build->context->candidates_cap; j++) {
            float distance = ak_measure_true(&build->walk.measure, distances[j]);
            bool known = distance <= build->walk.measure.slack || links[j] == build->slot ||
                         is_dead(index, links[j]) ||
                         is_among(candidates + copies, count - copies, links[j]);
            if (!known) {
                candidates[count++] = (struct ak_found){distance, links[j]};
            }
        }
    }
    ak_hnsw_sort(candidates, count, build->slot);
    return count;
}

/* All that the walk met is dead: look at every linked row. Rare: repair is overdue then. */
static uint32_t candidates_of_scan(struct build *build)
{
    struct ak_index *index = build->index;
    struct ak_context *context = build->context;
    struct ak_scan scan = {.dead = ak_index_words(&index->dead),
                           .allow = ak_index_words(&index->linked),
                           .allow_slots = build->walk.limit,
                           .slots = build->walk.limit,
                           .k = index->degree};
    context->found_count = 0;
    (void)ak_exact_scan(&build->walk.measure, &scan, context);
    ak_found_sort(context);
    uint32_t n = 0;
    for (uint32_t i = 0; i < context->found_count; i++) {
        struct ak_found found = context->found[i];
        if (found.slot != build->slot) {
            found.distance = ak_measure_true(&build->walk.measure, found.distance);
            context->candidates[n++] = found;
        }
    }
    return n;
}

/* Walk one level from *seed, choose links; *seed becomes the nearest row met. */
static uint32_t choose_on_level(struct build *build, uint32_t level, uint32_t *seed)
{
    struct ak_index *index = build->index;
    struct ak_context *context = build->context;
    begin_walk(build);
    index->walk->beam(&build->walk, *seed, level);
    *seed = context->pool_id[0] & ~AK_POOL_DONE;
    uint32_t count = candidates_of_pool(build);
    uint32_t former = level == 0 ? former_not_met(build) : AK_LINK_NONE;
    if (level == 0) {
        observe_crowding(build, count);
    }
    if (former != AK_LINK_NONE) {
        count = add_by_former(build, former, count);
    }
    if (index->options.metric == AK_METRIC_DOT && level == 0) {
        count = add_by_product(build, *seed, count);
    }
    if (count == 0 && level == 0) {
        count = candidates_of_scan(build);
    }
    ak_hnsw_sort(context->candidates, count, build->slot);
    count = add_links_of_copies(build, level, count);
    struct ak_choice choice = {.row = build->slot,
                               .level = level,
                               .candidates = context->candidates,
                               .count = count,
                               .max = ak_index_degree(index, level),
                               .chosen = context->chosen + (size_t)level * index->degree,
                               .scratch = context->scratch};
    return ak_hnsw_choose(index, &choice);
}

static void write_own_row(const struct build *build, uint32_t level, const uint32_t *chosen,
                          uint32_t count)
{
    struct ak_index *index = build->index;
    uint32_t degree = ak_index_degree(index, level);
    uint32_t *row = ak_index_row(index, build->slot, level);
    if (!build->again) {
        ak_hnsw_write_row(row, degree, chosen, count);
        return;
    }
    uint32_t links[AK_DEGREE_MAX];
    ak_node_lock(index, build->slot);
    uint32_t had = ak_hnsw_read_row(row, degree, links);
    for (uint32_t i = 0; i < count && had < degree; i++) {
        if (!has(links, had, chosen[i])) {
            links[had] = chosen[i];
            ak_link_set(&row[had++], chosen[i]);
        }
    }
    ak_node_unlock(index, build->slot);
}

/* At level 0 at least one row links back. */
static void link_all_back(const struct build *build, uint32_t level, const uint32_t *chosen,
                          uint32_t count)
{
    float distances[AK_DEGREE_MAX + 4];
    ak_measure_rows(&build->walk.measure, chosen, count, distances);
    bool linked = false;
    for (uint32_t i = 0; i < count; i++) {
        float distance = ak_measure_true(&build->walk.measure, distances[i]);
        linked |= link_back(build, chosen[i], level, distance, !build->again);
    }
    if (!linked && level == 0 && count > 0) { /* again, and all are full */
        uint32_t i = (build->again - 1) % count;
        float distance = ak_measure_true(&build->walk.measure, distances[i]);
        (void)link_back(build, chosen[i], level, distance, true);
    }
}

/* --- The entry point --- */

static void mark_linked(struct ak_index *index, uint32_t slot)
{
    if (!ak_bits_test(ak_index_words(&index->linked), slot)) {
        ak_bits_set(ak_index_words(&index->linked), slot);
        atomic_fetch_add_explicit(&index->linked_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&index->linked_since, 1, memory_order_relaxed);
    }
}

/* The row has no neighbour: it becomes the entry point in place of `old`, whose side of the graph,
 * if any, is all dead. false: another builder was first. */
static bool enter_alone(struct build *build, uint64_t old, uint32_t level)
{
    struct ak_index *index = build->index;
    for (uint32_t l = 0; l <= level && !build->again; l++) {
        ak_hnsw_write_row(ak_index_row(index, build->slot, l), ak_index_degree(index, l), NULL, 0);
    }
    uint64_t mine = (uint64_t)level << 32 | build->slot;
    bool first = atomic_compare_exchange_strong_explicit(
        &index->entry, &old, mine, memory_order_acq_rel, memory_order_acquire);
    if (first) {
        mark_linked(index, build->slot);
    }
    return first;
}

static void raise_entry(struct ak_index *index, uint32_t slot, uint32_t level)
{
    uint64_t mine = (uint64_t)level << 32 | slot;
    uint64_t now = atomic_load_explicit(&index->entry, memory_order_acquire);
    while (level > ak_entry_level(now) &&
           !atomic_compare_exchange_weak_explicit(&index->entry, &now, mine, memory_order_acq_rel,
                                                  memory_order_acquire)) {
    }
}

/* --- One row --- */

static bool try_link(struct build *build)
{
    struct ak_index *index = build->index;
    struct ak_context *context = build->context;
    uint32_t level = ak_index_level(index, build->slot);
    uint64_t entry = atomic_load_explicit(&index->entry, memory_order_acquire);
    if (entry == AK_ENTRY_NONE) {
        return enter_alone(build, entry, level);
    }
    if (ak_entry_slot(entry) == build->slot) {
        return true;
    }
    uint32_t top = ak_entry_level(entry);
    uint32_t common = level < top ? level : top;
    uint32_t counts[AK_LEVEL_MAX + 1] = {0};
    uint32_t seed = index->walk->descend(&build->walk, ak_entry_slot(entry), top, common);
    for (uint32_t l = common + 1; l-- > 0;) {
        counts[l] = choose_on_level(build, l, &seed);
    }
    ak_context_reset(context);
    if (counts[0] == 0) {
        return enter_alone(build, entry, level);
    }
    for (uint32_t l = 0; l <= level; l++) {
        write_own_row(build, l, context->chosen + (size_t)l * index->degree, counts[l]);
    }
    mark_linked(index, build->slot);
    for (uint32_t l = 0; l <= common; l++) {
        link_all_back(build, l, context->chosen + (size_t)l * index->degree, counts[l]);
    }
    raise_entry(index, build->slot, level);
    return true;
}

void ak_hnsw_link(struct ak_index *index, struct ak_context *context, uint64_t slots, uint32_t slot,
                  uint32_t again)
{
    struct build build;
    build.index = index;
    build.context = context;
    build.slot = slot;
    build.again = again;
    ak_hnsw_walk_init(index, context, slots, &build.walk);
    ak_measure_for_row(index, slot, build.room, &build.walk.measure);
    build.walk.ef = index->options.params.ef_construction;
    build.walk.cap = CAP_FACTOR * build.walk.ef;
    if (ak_index_tombstones(index) > 0) {
        build.walk.dead = ak_index_words(&index->dead);
    }
    while (!try_link(&build)) {
    }
}

/* --- Pending rows --- */

/* Link one; false: none is waiting, or no memory. Gate entered, inside the epoch. */
static bool link_next(struct ak_index *index, struct ak_context *context)
{
    uint64_t slots = 0;
    uint64_t at = 0;
    uint32_t slot = 0;
    if (!ak_hnsw_prepare(index, context, &slots) ||
        !ak_pending_claim(&index->pending, &at, &slot)) {
        return false;
    }
    if (!is_dead(index, slot)) {
        bool serial =
            atomic_load_explicit(&index->linked_count, memory_order_relaxed) < AK_SERIAL_ROWS;
        if (serial) {
            ak_mutex_lock(&index->serial);
        }
        ak_hnsw_link(index, context, slots, slot, 0);
        if (serial) {
            ak_mutex_unlock(&index->serial);
        }
    }
    ak_pending_finish(&index->pending, at);
    return true;
}

uint32_t ak_index_build_some(struct ak_index *index, uint32_t max)
{
    uint32_t done = 0;
    /* Acquire pairs with the release at the end of a thaw: the rows may be written. */
    if (!atomic_load_explicit(&index->writable, memory_order_acquire)) {
        return 0;
    }
    while (done < max && ak_index_pending(index) > 0) {
        if (!ak_gate_enter(&index->gate, false)) {
            break;
        }
        unsigned token = ak_epoch_enter(index->options.epoch);
        struct ak_context *context = ak_context_take(index);
        bool linked = context && link_next(index, context);
        if (context) {
            ak_context_put(index, context);
        }
        ak_epoch_leave(index->options.epoch, token);
        ak_gate_leave(&index->gate);
        if (!linked) {
            break;
        }
        done++;
    }
    if (done > 0 && ak_index_pending(index) == 0) {
        ak_hnsw_connect_built(index);
    }
    return done;
}

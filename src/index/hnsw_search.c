/* hnsw_search.c — one search: exact or along the graph, and always as many results as there are.
 *
 * Order of looking, so that a row being linked meanwhile is met exactly once: first the pending
 * list, marking what it holds as visited; then the entry point; then the graph. A row that left the
 * list before it was read has its links in place (see pending.c).
 *
 * Exact is chosen when it is asked for, when few rows are live, when a filter leaves so few that
 * measuring them costs less than walking past those it leaves out, and when a walk came back with
 * fewer than there must be (a filter far away from the query, a region of tombstones).
 *
 * With byte codes (codes.c) pending rows and the graph are looked at by codes; the nearest of what
 * was met are then measured in floats, so that scores and order are exact: of twice as many as are
 * wanted, under cosine those whose code leaves it in doubt whether they belong among the k nearest:
 * on sentence embeddings one or two more than k, and recall is the same. Measured at 384
 * dimensions: the same recall at the same ef, at 2 to 2.7 times the speed.
 *
 * The distance-adaptive stop. A beam of fixed width spends the same on every query: too much where
 * the k nearest stand out, too little where hundreds of rows are almost as near. So a walk goes on
 * to the rows within a factor of the k-th's distance instead (Al-Jazzazi et al. 2025). The factor
 * is the one that on average holds ef rows: (ef/k)^(1/LID), with the local intrinsic dimension
 * learned while building; so ef stays the knob and means on average what it meant. At least ef/2
 * hops and at most 3·ef rows. Measured on 100,000 sentence embeddings at recall .99: 30 % fewer
 * distances for queries like the rows, 15 % fewer for others. (At most 2·ef: 3 % more for those
 * others, and 6 % more on clustered vectors at .995; 4·ef gains nothing over 3·ef.)
 */
#include "index/index_priv.h"

#define CAP_ROOM 1024 /* rows a walk may keep that do not count, beside what is filtered */
#define PLAIN_REACH                                                                                \
    0.4              /* share of the rows that a filter must leave for a walk to end by its reach */
#define SCAN_MIN 40u /* rows measured again after a scan of codes: it knows no near rows */
#define SCAN_FACTOR 4      /* but by them, and one more costs little beside all scanned */
#define EF_TIMES_MAX 3     /* rows that a walk with a reach may keep, times ef */
#define RERANK_MIN 20u     /* rows measured again in floats after a walk on codes, */
#define RERANK_FACTOR 2    /* and of k results this many times k */
#define WIDER_PART 8       /* of those, under codes of few bits, by which a walk is wider */
#define RERANK_BYTES 2048u /* of a row asked for ahead; hardware follows on */
#define RERANK_AHEAD 8     /* of them asked for ahead */

struct search {
    struct ak_index *index;
    const struct ak_index_query *query;
    struct ak_context *context;
    struct ak_walk walk;
    struct ak_hit *hits;
    uint32_t count;
    uint32_t ef;
    bool by_codes;
    uint32_t times_again; /* codes of few bits: see ak_quantizer_again(); else 0 */
    enum ak_index_way way;
    double share;  /* of the rows in the graph that may be returned */
    uint32_t kept; /* rows kept until the end: k, or more when they are measured again */
    float query_scale;
};

static uint64_t get(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static uint32_t ef_of(const struct ak_index *index, const struct ak_index_query *query)
{
    uint32_t ef = query->ef ? query->ef : index->options.params.ef_search;
    ef = ef < query->k ? query->k : ef;
    return ef < AK_EF_MAX ? ef : AK_EF_MAX;
}

/* Rows an exact search would measure. */
static uint64_t rows_to_scan(const struct ak_index *index, const struct ak_index_query *query)
{
    uint64_t live = get(&index->live);
    bool is_allowed = query->allow && (query->as_allowed || query->allow_count < live);
    return is_allowed ? query->allow_count : live;
}

static struct ak_filter_case case_of(const struct ak_index *index,
                                     const struct ak_index_query *query)
{
    return (struct ak_filter_case){.k = query->k,
                                   .ef = ef_of(index, query),
                                   .rows = get(&index->live) + get(&index->tombstones),
                                   .eligible = rows_to_scan(index, query),
                                   .pending = get(&index->pending.count)};
}

static uint64_t walk_cost(const struct ak_index *index, const struct ak_index_query *query)
{
    uint64_t rows = get(&index->live) + get(&index->tombstones);
    return ak_index_walk_cost(index, ef_of(index, query), rows, rows_to_scan(index, query)) +
           ak_index_pending_cost(index, get(&index->pending.count));
}

static bool prefers_exact(const struct ak_index *index, const struct ak_index_query *query)
{
    uint64_t rows = rows_to_scan(index, query);
    if (query->exact || query->as_allowed || get(&index->live) <= index->exact_below ||
        rows <= query->k || get(&index->entry) == AK_ENTRY_NONE) {
        return true;
    }
    if (query->allow) {
        return false; /* see way_of */
    }
    /* A caller that set exact_below wants the graph above it, however small the index. */
    bool chosen = index->options.exact_below == 0 || query->k > index->exact_below;
    return chosen && rows <= walk_cost(index, query);
}

/* How all rows are looked at: where the floats are on disk, by codes first, unless it has to be the
 * floats. (Rows that were removed have no codes once these are made anew.) */
static enum ak_index_way scan_of(const struct ak_index *index, const struct ak_index_query *query)
{
    bool in_floats = query->exact || query->as_allowed || !ak_index_is_on_disk(index) ||
                     !ak_index_codes(index) || rows_to_scan(index, query) <= query->k;
    return in_floats ? AK_INDEX_WAY_EXACT : AK_INDEX_WAY_CODES;
}

static enum ak_index_way way_of(const struct ak_index *index, const struct ak_index_query *query)
{
    uint64_t cost = 0;
    if (prefers_exact(index, query)) {
        return scan_of(index, query);
    }
    if (!query->allow) {
        return query->way == AK_INDEX_WAY_CODES ? query->way : AK_INDEX_WAY_PLAIN;
    }
    if (query->way != AK_INDEX_WAY_BEST) {
        return query->way;
    }
    struct ak_filter_case filter = case_of(index, query);
    enum ak_index_way way = ak_filter_way(index, &filter, &cost);
    return way == AK_INDEX_WAY_EXACT ? scan_of(index, query) : way;
}

uint64_t ak_index_cost(const struct ak_index *index, const struct ak_index_query *query)
{
    uint64_t cost = 0;
    if (prefers_exact(index, query)) {
        return rows_to_scan(index, query);
    }
    if (!query->allow) {
        return walk_cost(index, query);
    }
    struct ak_filter_case filter = case_of(index, query);
    (void)ak_filter_way(index, &filter, &cost);
    return cost;
}

/* --- Results --- */

static void give_scores(struct search *search)
{
    for (uint32_t i = 0; i < search->count; i++) {
        search->hits[i].score =
            ak_measure_score(search->index, search->query_scale, search->hits[i].score);
    }
    /* The root and the clamp can make different distances equal scores: order those by slot. */
    for (uint32_t i = 1; i < search->count; i++) {
        struct ak_hit moving = search->hits[i];
        uint32_t at = i;
        while (at > 0 && search->hits[at - 1].slot > moving.slot &&
               !(search->hits[at - 1].score < moving.score) &&
               !(search->hits[at - 1].score > moving.score)) {
            search->hits[at] = search->hits[at - 1];
            at--;
        }
        search->hits[at] = moving;
    }
}

static void take_found(struct search *search)
{
    struct ak_context *context = search->context;
    ak_found_sort(context);
    for (uint32_t i = 0; i < context->found_count; i++) {
        search->hits[i] = (struct ak_hit){context->found[i].slot, context->found[i].distance};
    }
    search->count = context->found_count;
}

static void prefetch_vector(const struct ak_measure *measure, uint32_t slot)
{
    const char *row = (const char *)ak_measure_row(measure, slot);
    size_t end = measure->stride < RERANK_BYTES ? measure->stride : RERANK_BYTES;
    for (size_t at = 0; at < end; at += 64) {
        ak_prefetch(row + at);
    }
}

/* Rows of the pool that may be returned join what was found among the pending ones. */
static void merge_pool(struct search *search, uint32_t k)
{
    struct ak_context *context = search->context;
    uint32_t taken = 0;
    float last = 0.0f;
    for (uint32_t i = 0; i < context->pool_count; i++) {
        float distance = context->pool_distance[i];
        uint32_t slot = context->pool_id[i] & ~AK_POOL_DONE;
        if (taken >= k && distance > last) {
            break;
        }
        if (ak_walk_counts(&search->walk, slot)) {
            ak_found_offer(context, k, (struct ak_found){distance, slot});
            last = distance;
            taken++;
        }
    }
}

/* Of what was found by codes, sorted: the k nearest, and those that may be among them. */
static uint32_t worth_measuring(const struct search *search)
{
    const struct ak_context *context = search->context;
    uint32_t k = search->query->k;
    uint32_t count = context->found_count;
    if (count <= k) {
        return count;
    }
    float reach = context->found[k - 1].distance + search->walk.measure.code_doubt;
    while (count > k && context->found[count - 1].distance > reach) {
        count--;
    }
    return count;
}

/* What was found by codes, measured in floats: the k nearest of it stay. */
static void measure_again(struct search *search)
{
    struct ak_context *context = search->context;
    struct ak_found *found = context->found;
    struct ak_measure measure;
    struct ak_reading reading;
    ak_found_sort(context);
    uint32_t count = worth_measuring(search);
    ak_measure_for_query(search->index, context->query, search->query_scale, &measure);
    ak_reading_begin(search->index, found, count, &reading);
    for (uint32_t i = 0; i < count && i < RERANK_AHEAD; i++) {
        prefetch_vector(&measure, found[i].slot);
    }
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t slots[4];
        float distances[4];
        uint32_t four = count - i < 4 ? count - i : 4;
        for (uint32_t j = i + RERANK_AHEAD; j < i + RERANK_AHEAD + 4 && j < count; j++) {
            prefetch_vector(&measure, found[j].slot);
        }
        for (uint32_t j = 0; j < four; j++) {
            slots[j] = found[i + j].slot;
        }
        ak_measure_rows(&measure, slots, four, distances);
        for (uint32_t j = 0; j < four; j++) {
            found[i + j].distance = distances[j];
        }
        ak_reading_next(&reading, found + i + four, count - i - four);
    }
    search->walk.distances += count;
    context->found_count = 0;
    for (uint32_t i = 0; i < count; i++) { /* the heap grows behind what was read */
        struct ak_found next = found[i];
        ak_found_offer(context, search->query->k, next);
    }
}

/* --- The two ways --- */

static enum ak_rc search_exact(struct search *search, uint64_t *distances, struct ak_err *err)
{
    const struct ak_index_query *query = search->query;
    struct ak_index *index = search->index;
    uint64_t slots = ak_index_slots(index);
    uint64_t rows = rows_to_scan(index, query);
    uint32_t k = rows < query->k ? (uint32_t)rows : query->k;
    /* A row added since may be found in place of one that was counted: k is the bound either way.
     */
    search->count = 0;
    if (k == 0) {
        return AK_OK;
    }
    if (!ak_context_fit_found(search->context, k)) {
        return ak_fail(err, AK_NOMEM, "search for %u rows", k);
    }
    struct ak_measure measure;
    ak_measure_for_query(index, search->context->query, search->query_scale, &measure);
    struct ak_scan scan = {.ahead = ak_index_is_on_disk(index) ? index : NULL,
                           .dead = query->as_allowed ? NULL : ak_index_words(&index->dead),
                           .allow = query->allow,
                           .allow_slots = query->allow_slots,
                           .slots = slots,
                           .k = k};
    *distances += ak_exact_scan(&measure, &scan, search->context);
    take_found(search);
    return AK_OK;
}

/* How long the pool may become: as the filter explains twice over, and some room. */
static uint32_t cap_of(const struct search *search, uint32_t ef, bool filtered)
{
    const struct ak_index *index = search->index;
    if (search->way == AK_INDEX_WAY_TWO_HOPS) {
        return ef < AK_EF_MAX / 8 ? 8 * ef + CAP_ROOM
                                  : AK_EF_MAX; /* wider where the filter is far */
    }
    if (!filtered) {
        return ef;
    }
    double rows = (double)(get(&index->live) + get(&index->tombstones));
    double eligible = (double)rows_to_scan(index, search->query);
    double cap = 2.0 * (double)ef * rows / (eligible > 1.0 ? eligible : 1.0) + CAP_ROOM;
    return cap < (double)AK_EF_MAX ? (uint32_t)cap : AK_EF_MAX;
}

/* The distance-adaptive stop, see the top. Under a filter that leaves out most rows of a plain walk
 * it would have to look for the k-th among too many, and gains nothing. */
static void set_up_reach(struct search *search)
{
    struct ak_index *index = search->index;
    struct ak_walk *walk = &search->walk;
    double crowding = (double)atomic_load_explicit(&index->crowding, memory_order_relaxed);
    uint64_t live = get(&index->live);
    if (walk->allow && search->way == AK_INDEX_WAY_PLAIN && search->share < PLAIN_REACH) {
        return;
    }
    if (crowding <= 0.0 || !(walk->measure.gain > 0.0f) || live == 0) {
        return;
    }
    double k = (double)search->query->k;
    double place =
        walk->allow ? k : ceil(k * (1.0 + (double)get(&index->tombstones) / (double)live));
    crowding = crowding < 1.0 ? crowding : 1.0;
    walk->near_growth = (float)pow((double)search->ef / k, 2.0 * crowding);
    walk->near_rank = place < (double)search->ef ? (uint32_t)place : search->ef;
    walk->results_min = search->query->k;
    walk->hops_min = search->ef / 2;
    walk->ef = search->ef <= AK_EF_MAX / EF_TIMES_MAX ? EF_TIMES_MAX * search->ef : AK_EF_MAX;
}

/* Rows measured again of what was found by codes; of codes of few bits as many as their trial said
 * (codes_trial.c). */
static uint32_t rows_again(const struct search *search, uint32_t factor, uint32_t min)
{
    uint32_t times = search->times_again > factor ? search->times_again : factor;
    uint32_t rows = times * search->query->k;
    rows = rows < AK_EF_MAX ? rows : AK_EF_MAX; /* no walk keeps more */
    return rows > min ? rows : min;
}

/* Codes that want more rows measured again also miss more on the way: at ef 16 a walk by single
 * bits found .87 of what it should, by bytes .92. These few more make up for it at any ef. */
static uint32_t wider(const struct search *search, uint32_t ef)
{
    uint32_t more = search->times_again * search->query->k / WIDER_PART;
    return ef < AK_EF_MAX - more ? ef + more : AK_EF_MAX;
}

static bool set_up_walk(struct search *search)
{
    struct ak_index *index = search->index;
    const struct ak_index_query *query = search->query;
    uint64_t slots = ak_index_slots(index);
    uint64_t rows = get(&index->live) + get(&index->tombstones);
    search->share = (double)rows_to_scan(index, query) / (double)(rows ? rows : 1);
    ak_hnsw_walk_init(index, search->context, slots, &search->walk);
    ak_measure_for_query(index, search->context->query, search->query_scale, &search->walk.measure);
    search->by_codes = ak_codes_measure(index, search->context, &search->walk.measure);
    search->times_again = search->walk.measure.code_again;
    search->kept = search->by_codes ? rows_again(search, RERANK_FACTOR, RERANK_MIN) : query->k;
    uint32_t ef = ef_of(index, query);
    search->ef =
        wider(search, search->way == AK_INDEX_WAY_TWO_HOPS ? ak_filter_ef(ef, search->share) : ef);
    search->walk.dead = ak_index_words(&index->dead);
    search->walk.allow = query->allow;
    search->walk.allow_slots = query->allow_slots;
    search->walk.ef = search->ef;
    set_up_reach(search);
    search->walk.cap =
        cap_of(search, search->walk.ef, query->allow || ak_index_tombstones(index) > 0);
    return ak_context_fit_visited(search->context, slots) &&
           ak_context_fit_pool(search->context, search->walk.cap) &&
           ak_context_fit_found(search->context, search->kept);
}

/* Where the descent ends and the beam goes on, on level 0. Measured, a search saves 2 to 5 % of its
 * distances by leaving level 1 out: the beam makes up for it with a hop or two, which it needs to
 * look around with anyway. */
static uint32_t start_level(uint64_t entry)
{
    return ak_entry_level(entry) > 1 ? 1 : 0;
}

static enum ak_rc search_graph(struct search *search, struct ak_err *err)
{
    struct ak_index *index = search->index;
    struct ak_walk *walk = &search->walk;
    uint64_t entry = AK_ENTRY_NONE;
    do { /* again only when the entry point was added after the rows were counted */
        if (!set_up_walk(search)) {
            return ak_fail(err, AK_NOMEM, "search of %u candidates", search->ef);
        }
        walk->distances = ak_exact_pending(index, walk, search->kept);
        entry = get(&index->entry);
        if (entry != AK_ENTRY_NONE && ak_entry_slot(entry) >= walk->limit) {
            ak_context_reset(search->context);
            entry = AK_ENTRY_NONE - 1;
        }
    } while (entry == AK_ENTRY_NONE - 1);
    if (entry != AK_ENTRY_NONE) {
        const uint64_t *dead = walk->dead;
        if (walk->cap == walk->ef && !walk->allow) {
            walk->dead = NULL; /* nothing removed: every row counts */
        }
        uint32_t seed = index->walk->descend(walk, ak_entry_slot(entry), ak_entry_level(entry),
                                             start_level(entry));
        if (search->way == AK_INDEX_WAY_TWO_HOPS) {
            struct ak_filter_case filter = case_of(index, search->query);
            ak_filter_prepare(index, &filter, search->ef, walk);
            index->walk->beam_two_hops(walk, seed);
        } else {
            index->walk->beam(walk, seed, 0);
        }
        walk->dead = dead;
        merge_pool(search, search->kept);
    }
    if (search->by_codes) {
        measure_again(search);
    }
    ak_context_reset(search->context);
    take_found(search);
    return AK_OK;
}

/* Every row that may be returned, by its code; without codes in floats. */
static enum ak_rc search_codes(struct search *search, struct ak_err *err)
{
    struct ak_index *index = search->index;
    struct ak_walk *walk = &search->walk;
    const struct ak_index_query *query = search->query;
    uint64_t slots = ak_index_slots(index);
    uint64_t rows = rows_to_scan(index, query);
    uint32_t kept = query->k;
    ak_measure_for_query(index, search->context->query, search->query_scale, &walk->measure);
    search->by_codes = ak_codes_measure(index, search->context, &walk->measure);
    search->times_again = walk->measure.code_again;
    if (search->by_codes) {
        kept = rows_again(search, SCAN_FACTOR, SCAN_MIN);
    }
    kept = rows < kept ? (uint32_t)rows : kept;
    if (!ak_context_fit_found(search->context, kept)) {
        return ak_fail(err, AK_NOMEM, "search for %u rows", kept);
    }
    struct ak_scan scan = {.dead = ak_index_words(&index->dead),
                           .allow = query->allow,
                           .allow_slots = query->allow_slots,
                           .slots = slots,
                           .k = kept};
    walk->distances += ak_exact_scan(&walk->measure, &scan, search->context);
    if (search->by_codes) {
        measure_again(search);
    }
    take_found(search);
    return AK_OK;
}

static bool is_short(const struct search *search)
{
    return search->count < search->query->k &&
           search->count < rows_to_scan(search->index, search->query);
}

/* The way that was chosen; one that came back with less than there must be makes it a scan. */
static enum ak_rc search_way(struct search *search, uint64_t *distances, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (search->way == AK_INDEX_WAY_CODES) {
        rc = search_codes(search, err);
    } else if (search->way != AK_INDEX_WAY_EXACT) {
        rc = search_graph(search, err);
        if (rc == AK_OK && search->walk.is_far && search->walk.far_scans) {
            search->way = AK_INDEX_WAY_CODES;
            rc = search_codes(search, err);
        }
    }
    if (rc == AK_OK && is_short(search) && search->way != AK_INDEX_WAY_EXACT) {
        bool was_codes = search->way == AK_INDEX_WAY_CODES;
        search->way = was_codes ? AK_INDEX_WAY_EXACT : scan_of(search->index, search->query);
        rc = search->way == AK_INDEX_WAY_CODES ? search_codes(search, err) : AK_OK;
    }
    *distances = search->walk.distances;
    return rc == AK_OK && search->way == AK_INDEX_WAY_EXACT ? search_exact(search, distances, err)
                                                            : rc;
}

enum ak_rc ak_index_search(struct ak_index *index, const struct ak_index_query *query,
                           struct ak_hit *hits, uint32_t *count, struct ak_index_effort *effort,
                           struct ak_err *err)
{
    AK_ASSERT(query->k >= 1 && query->k <= AK_K_MAX);
    struct search search = {.index = index,
                            .query = query,
                            .hits = hits,
                            .ef = ef_of(index, query),
                            .context = ak_context_take(index)};
    if (!search.context) {
        return ak_fail(err, AK_NOMEM, "search");
    }
    memcpy(search.context->query, query->vector, index->options.dimension * sizeof(float));
    search.query_scale = ak_measure_query_scale(index, query->vector);
    search.way = way_of(index, query);
    uint64_t distances = 0;
    enum ak_rc rc = search_way(&search, &distances, err);
    ak_context_put(index, search.context);
    if (rc != AK_OK) {
        return rc;
    }
    give_scores(&search);
    *count = search.count;
    if (effort) {
        *effort = (struct ak_index_effort){.distances = distances,
                                           .hops = search.walk.hops,
                                           .was_exact = search.way == AK_INDEX_WAY_EXACT ||
                                                        search.way == AK_INDEX_WAY_CODES,
                                           .way = search.way};
    }
    return AK_OK;
}

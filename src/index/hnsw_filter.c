/* hnsw_filter.c — which way a filtered search takes, and where a walk under a filter begins.
 *
 * A filter leaves the share s of n rows. Four ways to find the nearest of them:
 *
 *   exact      s·n rows in floats
 *   codes      s·n rows by codes, the best in floats: the same for a third of the bytes
 *   plain      the graph as it is, with a pool that holds ef/s rows so that ef of them count
 *   two hops   the graph of the rows that count (hnsw_filter_body.h)
 *
 * The first two miss nothing and cost the more the larger s·n is; the third costs the more the
 * smaller s is; the fourth costs about the same whatever s is, until so few rows count that two
 * hops do not connect them. So each is estimated and the cheapest taken. Measured on 100,000
 * sentence embeddings (docs/adr/0011): plain from s = 0.2 on, two hops down to about 0.06, below
 * that codes; with more rows, two hops down to where they stop to connect.
 */
#include "index/index_priv.h"

#define CONNECTED 16.0    /* s · degree²: rows that count at two hops from a row, at least */
#define SHARE_MOST 0.2    /* of the rows, beyond which a plain walk is as good */
#define SCAN_SLOWER 1.3   /* a row scanned here and there, beside one in a row */
#define LINK_ROW_NS 30.0  /* a row of links read on the way, its bits looked at */
#define MET_AT_ONCE 100.0 /* rows measured whatever ef is */
#define MET_PER_EF 45.0   /* and for each row kept */
#define HOP_NS 30.0       /* of a hop's other work, on each of them */
#define MET_ONCE 0.5      /* of the rows at two hops: others are met twice */
#define FAR_FEWER 2.0     /* times fewer rows met at the first hop: the filter is far */
#define FAR_WIDER 4.0     /* times the ef then */
#define EF_MORE 0.02      /* see ak_filter_ef */

static double two_hops_ns(const struct ak_index *index, double ef)
{
    double met = MET_AT_ONCE + MET_PER_EF * ef;
    return met * (SCAN_SLOWER * ak_index_walk_row_ns(index) + HOP_NS) +
           ef * (double)index->degree * LINK_ROW_NS;
}

static double codes_ns(const struct ak_index *index, const struct ak_filter_case *filter)
{
    double again = 4.0 * (double)filter->k + 40.0; /* about, what is measured in floats as well */
    return (double)filter->eligible * SCAN_SLOWER * ak_index_walk_row_ns(index) +
           again * ak_index_float_row_ns(index);
}

uint32_t ak_filter_ef(uint32_t ef, double share)
{
    double more = (double)ef * (1.0 + EF_MORE / (share > 0.001 ? share : 0.001));
    return more < (double)AK_EF_MAX ? (uint32_t)more : AK_EF_MAX;
}

enum ak_index_way ak_filter_way(const struct ak_index *index, const struct ak_filter_case *filter,
                                uint64_t *cost)
{
    double floats = ak_index_float_row_ns(index);
    double share = (double)filter->eligible / (double)(filter->rows ? filter->rows : 1);
    double degree = (double)index->degree;
    /* Rows that are not linked yet are scanned before a walk: those that count. */
    double pending = share * (double)ak_index_pending_cost(index, filter->pending) * floats;
    double exact = (double)filter->eligible * floats;
    double codes = codes_ns(index, filter);
    double plain = pending + floats * (double)ak_index_walk_cost(index, filter->ef, filter->rows,
                                                                 filter->eligible);
    enum ak_index_way way = AK_INDEX_WAY_PLAIN;
    double least = plain;
    if (share < SHARE_MOST && share * degree * degree >= CONNECTED) {
        double ef = (double)ak_filter_ef((uint32_t)filter->ef, share);
        double two_hops = pending + two_hops_ns(index, ef);
        if (two_hops < least) {
            way = AK_INDEX_WAY_TWO_HOPS;
            least = two_hops;
        }
    }
    if (ak_index_codes(index) && codes < least) {
        way = AK_INDEX_WAY_CODES;
        least = codes;
    }
    if (exact < least) {
        way = AK_INDEX_WAY_EXACT;
        least = exact;
    }
    *cost = (uint64_t)(least / floats);
    return way;
}

/* Every allowed row is as likely as another where allowed slots are spread evenly; where they are
 * not, rows behind a gap are likelier, which does no harm. */
static void sample(const uint64_t *allow, uint64_t slots, struct ak_walk *walk)
{
    uint64_t words = ak_bits_words(slots);
    walk->seed_count = 0;
    for (uint64_t i = 0; i < AK_WALK_SEEDS; i++) {
        uint64_t at = words * i / AK_WALK_SEEDS;
        uint64_t end = words * (i + 1) / AK_WALK_SEEDS;
        uint64_t word = 0;
        while (at < end && !(word = ak_bits_clip(allow[at], at, slots))) {
            at++;
        }
        if (word) {
            uint64_t slot = at * 64 + (uint64_t)__builtin_ctzll(word);
            walk->seeds[walk->seed_count++] = (uint32_t)slot;
        }
    }
}

void ak_filter_prepare(const struct ak_index *index, const struct ak_filter_case *filter,
                       uint32_t ef, struct ak_walk *walk)
{
    double share = (double)filter->eligible / (double)(filter->rows ? filter->rows : 1);
    double met = share * (double)index->degree * (double)index->degree * MET_ONCE;
    double wider = FAR_WIDER * (double)walk->ef; /* twice ef where the stop adapts */
    double crowding = (double)atomic_load_explicit(&index->crowding, memory_order_relaxed);
    sample(walk->allow, walk->allow_slots < walk->limit ? walk->allow_slots : walk->limit, walk);
    walk->first_min = (uint32_t)((met < AK_HOP_ROWS ? met : AK_HOP_ROWS) / FAR_FEWER);
    walk->far_ef = wider < (double)walk->cap ? (uint32_t)wider : walk->ef;
    walk->far_growth =
        walk->near_growth * (float)pow(FAR_WIDER, 2.0 * (crowding < 1.0 ? crowding : 1.0));
    double scan = ak_index_codes(index) ? codes_ns(index, filter)
                                        : (double)filter->eligible * ak_index_float_row_ns(index);
    walk->far_scans = scan < two_hops_ns(index, FAR_WIDER * (double)ef);
}

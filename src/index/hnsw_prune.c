/* hnsw_prune.c — which neighbours a row links to.
 *
 * Candidates are looked at from the nearest to the farthest. One is kept when no link kept before
 * it is much nearer to it than the row itself is: d(c, s) ≥ d(c, row) / α for all kept s, in
 * squared distance. Such links point in different directions, so a walk finds one that leads its
 * way. α = 1 is HNSW's own rule; with α > 1 more survive (Vamana, Subramanya et al. 2019). But with
 * α > 1 alone a row of fixed size is full of near ones before the far ones have their turn. So
 * there are two rounds: the first, α = 1, takes the links that spread widest; the second, α = 1.44,
 * fills up with those pruned that still look another way.
 *
 * What is then left of the row is filled with the nearest of the others. They add little reach but
 * make each hop, which has a price of its own, see more of the neighbourhood.
 *
 * Measured on 100,000 sentence embeddings, distances and hops of a search at recall .99, queries
 * like the rows / unlike them: α 1.1 alone 854, 41.9 / 1557, 81; 1.0 alone 784, 39.5 / 1556, 85;
 * 1.0 and then 1.2: 787, 36.7 / 1491, 75; 1.0 and then 1.44: 776, 37.8 / 1489, 79, and fewer
 * distances at .95. Larger alphas alone take more of both at .99 (docs/adr/0013).
 *
 * Equal rows are the trap of every such rule: a thousand copies of one vector are each other's
 * nearest neighbours and would fill their rows with each other, an island. So a copy of a link that
 * was kept is always pruned, and ties are ordered by a hash, so that the copies that fill a row are
 * a random choice: among themselves they form a random graph, which is connected.
 *
 * The metric dot. Inner products are no distance: linked by them alone (Morozov & Babenko 2018),
 * all rows would point to the few of largest norm and none to the small, and rows on a sphere one
 * dimension up (Bachrach et al. 2014) leave those of largest norm with hardly a link to them,
 * though they are most often the answer. So links are chosen by angle, which gives every row
 * neighbours and every direction its paths, and a quarter of each level-0 row leads to the
 * candidates of largest inner product: from rows in the direction of a query straight to its
 * answers (after Liu et al. 2020, "ip-NSW+"). Measured, 20,000 rows with norms e^N(0, σ), ef 64,
 * recall@10 of sphere / angle / angle and quarter: σ 0.05 .998 / .995 / .999, 0.3 .899 / .961 /
 * .998, 1.0 .816 / .613 / .992.
 */
#include "base/hash.h"
#include "index/index_priv.h"

#define PRODUCT_SHARE 4 /* dot: one link in so many is chosen by inner product */

static const float alphas[] = {1.0f, 1.44f}; /* on squared distances, one round each */

static bool before(struct ak_found a, struct ak_found b, uint32_t salt)
{
    if (a.distance < b.distance || a.distance > b.distance) {
        return a.distance < b.distance;
    }
    uint64_t salted = (uint64_t)salt << 32;
    return ak_mix64(salted | a.slot) < ak_mix64(salted | b.slot);
}

static bool are_in_order(const struct ak_found *candidates, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        if (!(candidates[i - 1].distance < candidates[i].distance)) {
            return false;
        }
    }
    return true;
}

/* Shell's sort: short lists, most of them nearly in order, and the pool of a walk mostly is. */
void ak_hnsw_sort(struct ak_found *candidates, uint32_t count, uint32_t salt)
{
    if (are_in_order(candidates, count)) {
        return;
    }
    static const uint32_t gaps[] = {132, 57, 23, 10, 4, 1}; /* Ciura 2001 */
    for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
        uint32_t gap = gaps[g];
        for (uint32_t i = gap; i < count; i++) {
            struct ak_found moving = candidates[i];
            uint32_t at = i;
            for (; at >= gap && before(moving, candidates[at - gap], salt); at -= gap) {
                candidates[at] = candidates[at - gap];
            }
            candidates[at] = moving;
        }
    }
}

/* Is `candidate` so near to one of the chosen that a link to that one does? */
static bool is_covered(const struct ak_index *index, struct ak_found candidate, float alpha,
                       const uint32_t *chosen, uint32_t count)
{
    _Alignas(64) int8_t room[AK_CODE_ROOM];
    struct ak_measure measure;
    float distances[4];
    if (count == 0) {
        return false;
    }
    ak_measure_for_row(index, candidate.slot, room, &measure);
    for (uint32_t i = 0; i < count; i += 4) {
        uint32_t four = count - i < 4 ? count - i : 4;
        ak_measure_rows(&measure, chosen + i, four, distances);
        for (uint32_t j = 0; j < four; j++) {
            float between = ak_measure_true(&measure, distances[j]) - measure.slack;
            if (alpha * between <= candidate.distance) {
                return true;
            }
        }
    }
    return false;
}

static bool has(const uint32_t *slots, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i] == slot) {
            return true;
        }
    }
    return false;
}

/* The candidates of largest inner product, up to `max`; returns how many. */
static uint32_t choose_by_product(const struct ak_index *index, const struct ak_choice *choice,
                                  uint32_t max)
{
    struct ak_measure measure;
    struct ak_found best[AK_DEGREE_MAX / PRODUCT_SHARE];
    uint32_t count = 0;
    AK_ASSERT(max > 0 && max <= AK_DEGREE_MAX / PRODUCT_SHARE);
    ak_measure_for_query(index, ak_slab_row(&index->vectors, choice->row), 1.0f, &measure);
    for (uint32_t i = 0; i < choice->count; i++) {
        struct ak_found found = choice->candidates[i];
        found.distance = ak_measure_one(&measure, found.slot);
        if (count == max && found.distance >= best[max - 1].distance) {
            continue;
        }
        uint32_t at = count < max ? count++ : max - 1;
        for (; at > 0 && found.distance < best[at - 1].distance; at--) {
            best[at] = best[at - 1];
        }
        best[at] = found;
    }
    for (uint32_t i = 0; i < count; i++) {
        choice->chosen[i] = best[i].slot;
    }
    return count;
}

/* One round: of the candidates in the first `left` places of scratch, those that no link covers
 * become links, behind the `kept` there are; the others stay in scratch. Links before `from` cover
 * nobody. Returns how many links there are; *left, when there is room for more, how many others. */
static uint32_t choose_uncovered(const struct ak_index *index, const struct ak_choice *choice,
                                 float alpha, uint32_t from, uint32_t kept, uint32_t *left)
{
    uint32_t stay = 0;
    for (uint32_t i = 0; i < *left && kept < choice->max; i++) {
        uint32_t place = choice->scratch[i];
        struct ak_found candidate = choice->candidates[place];
        if (is_covered(index, candidate, alpha, choice->chosen + from, kept - from)) {
            choice->scratch[stay++] = place;
        } else {
            choice->chosen[kept++] = candidate.slot;
        }
    }
    *left = stay;
    return kept;
}

uint32_t ak_hnsw_choose(const struct ak_index *index, const struct ak_choice *choice)
{
    uint32_t by_product = 0;
    uint32_t left = 0;
    if (index->options.metric == AK_METRIC_DOT && choice->level == 0) {
        by_product = choose_by_product(index, choice, choice->max / PRODUCT_SHARE);
    }
    for (uint32_t i = 0; i < choice->count; i++) {
        if (!has(choice->chosen, by_product, choice->candidates[i].slot)) {
            choice->scratch[left++] = i;
        }
    }
    uint32_t kept = by_product;
    for (size_t round = 0; round < sizeof alphas / sizeof alphas[0]; round++) {
        kept = choose_uncovered(index, choice, alphas[round], by_product, kept, &left);
    }
    for (uint32_t i = 0; i < left && kept < choice->max; i++) {
        choice->chosen[kept++] = choice->candidates[choice->scratch[i]].slot;
    }
    return kept;
}

uint32_t ak_hnsw_read_row(const uint32_t *row, uint32_t degree, uint32_t *links)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < degree; i++) {
        links[n] = ak_link_get(&row[i]);
        n += links[n] != AK_LINK_NONE;
    }
    return n;
}

void ak_hnsw_write_row(uint32_t *row, uint32_t degree, const uint32_t *links, uint32_t count)
{
    for (uint32_t i = 0; i < degree; i++) {
        ak_link_set(&row[i], i < count ? links[i] : AK_LINK_NONE);
    }
}

/* columns_eval.c — one condition over a column: first over the dictionary, then over the slots.
 *
 * The dictionary gives `hits`, a bitmap over codes. A few hits are then compared with each slot's
 * code directly; otherwise each slot's bit is looked up in `hits`. Words of the slot bitmap that
 * nobody asks for are skipped. The inner loops are in columns_pass.c and columns_pass_avx2.c.
 */
#include "base/mem.h"
#include "engine/columns_priv.h"
#include <math.h>
#include <string.h>

#define COMPARE_MAX 3 /* hits up to which comparing is faster than looking up */

static bool has_bit(const uint64_t *bits, uint32_t at)
{
    return bits[at / 64] >> (at % 64) & 1;
}

/* --- Over the dictionary --- */

static void match_codes(const struct ak_column *column, const struct ak_filter *leaf,
                        uint64_t *hits)
{
    for (size_t i = 0; i < leaf->value_count; i++) {
        uint32_t code = ak_column_code(column, &leaf->values[i]);
        if (code) {
            hits[code / 64] |= (uint64_t)1 << (code % 64);
        }
    }
}

/* All entries are compared as if they were numbers, and those that are not are masked out. */
static void range_codes(const struct ak_column *column, const struct ak_filter *leaf,
                        uint64_t *hits)
{
    double low = leaf->low_open ? nextafter(leaf->low, HUGE_VAL) : leaf->low;
    double high = leaf->high_open ? nextafter(leaf->high, -HUGE_VAL) : leaf->high;
    const struct ak_column_passes *passes = ak_column_passes();
    for (uint32_t word = 0; word < column->entry_cap / 64; word++) {
        if (column->is_number[word]) {
            uint64_t bits = passes->range(column->values + (size_t)word * 64, low, high);
            hits[word] = bits & column->is_number[word];
        }
    }
}

static void add_sets(const struct ak_column *column, uint64_t *hits)
{
    for (uint32_t word = 0; word < column->entry_cap / 64; word++) {
        for (uint64_t left = column->is_set[word]; left; left &= left - 1) {
            uint32_t code = word * 64 + (uint32_t)__builtin_ctzll(left);
            uint32_t len = column->metas[code].len;
            bool is_hit = false;
            for (uint32_t i = 0; i < len && !is_hit; i++) {
                is_hit = has_bit(hits, column->values[code].codes[i]);
            }
            hits[word] |= (uint64_t)is_hit << (code % 64);
        }
    }
}

/* --- Over the slots --- */

static void pass_compare(const struct ak_column *column, const uint32_t *wanted, unsigned count,
                         bool invert, uint64_t words, const uint64_t *care, uint64_t *out)
{
    const struct ak_column_passes *passes = ak_column_passes();
    for (uint64_t word = 0; word < words; word++) {
        uint64_t bits = care[word] ? passes->equal(column->codes + word * 64, wanted, count) : 0;
        out[word] = care[word] & (invert ? ~bits : bits);
    }
}

/* `hits` covers `codes` codes. */
static void pass(const struct ak_column *column, const uint64_t *hits, uint32_t codes,
                 uint64_t words, const uint64_t *care, uint64_t *out)
{
    uint32_t few[COMPARE_MAX];
    unsigned count = 0;
    for (uint32_t word = 0; word < codes / 64 && count <= COMPARE_MAX; word++) {
        for (uint64_t left = hits[word]; left && count <= COMPARE_MAX; left &= left - 1) {
            if (count < COMPARE_MAX) {
                few[count] = word * 64 + (uint32_t)__builtin_ctzll(left);
            }
            count++;
        }
    }
    if (count == 0) {
        memset(out, 0, words * sizeof *out);
    } else if (count <= COMPARE_MAX) {
        pass_compare(column, few, count, false, words, care, out);
    } else {
        const struct ak_column_passes *passes = ak_column_passes();
        for (uint64_t word = 0; word < words; word++) {
            uint64_t bits = care[word] ? passes->look_up(column->codes + word * 64, hits) : 0;
            out[word] = care[word] & bits;
        }
    }
}

enum ak_rc ak_column_eval(const struct ak_column *column, const struct ak_filter *leaf,
                          uint64_t words, const uint64_t *care, uint64_t *out, struct ak_err *err)
{
    uint64_t covered = column->slot_cap / 64 < words ? column->slot_cap / 64 : words;
    if (covered < words) { /* never stored, so nobody cares for them (C3) */
        memset(out + covered, 0, (words - covered) * sizeof *out);
    }
    if (leaf->kind == AK_FILTER_EXISTS) {
        uint32_t absent = AK_CODE_ABSENT;
        pass_compare(column, &absent, 1, leaf->exists, covered, care, out);
        return AK_OK;
    }
    uint32_t codes = column->entry_cap ? column->entry_cap : 64;
    uint64_t *hits = ak_try_zalloc(codes / 8);
    if (!hits) {
        return ak_fail(err, AK_NOMEM, "no memory to evaluate a filter over %u values", codes);
    }
    if (leaf->kind == AK_FILTER_MATCH) {
        match_codes(column, leaf, hits);
    } else {
        range_codes(column, leaf, hits);
    }
    if (column->set_count) {
        add_sets(column, hits);
    }
    pass(column, hits, codes, covered, care, out);
    ak_free(hits);
    return AK_OK;
}

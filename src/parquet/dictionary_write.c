/* dictionary_write.c — the distinct values of a column chunk, and where each row's stands among
 * them.
 *
 * A chunk gets a dictionary when that is smaller than its values: distinct values and indexes
 * against the values themselves, as the column's other encoding would have them. Looking stops at
 * AK_PARQUET_DICT_MAX. Indexes are bytes until the 257th distinct value comes: a column of vectors
 * has millions.
 */
#include "base/bits.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "parquet/values_write.h"
#include "parquet/writer_priv.h"
#include <string.h>

/* Values met lately, by hash: most columns repeat themselves. Many, so that 256 values of a
 * codebook hardly get into each other's way. */
#define RECENT 8192u
#define NARROW_MAX 256u /* distinct values with indexes of a byte */

struct recent {
    uint64_t word;  /* the value, of fixed widths up to 8 */
    uint32_t index; /* + 1; 0: empty */
};

/* A text that lies where one lay before is that one: who fills columns often gives the same bytes
 * again and again (perf/batch.c). */
#define PLACES 256u
struct place {
    const char *p;
    size_t len;
    uint32_t index; /* + 1; 0: empty */
};

struct maker {
    const struct ak_parquet_column *column;
    struct ak_dictionary *dictionary;
    size_t width;    /* bytes of a value; 0: byte arrays */
    uint32_t *place; /* of each distinct value in `plain` */
    uint32_t place_cap;
    struct ak_map map;
    struct recent recent[RECENT];
    struct place places[PLACES];
    uint64_t most;        /* values that there can be */
    uint64_t plain_bytes; /* what all values take without a dictionary */
    bool is_over;
};

/* The value at `place`, as PLAIN stores it but for the length. */
static struct ak_str stored(const struct maker *maker, uint32_t index)
{
    const char *p = maker->dictionary->plain.p + maker->place[index];
    if (maker->width) {
        return (struct ak_str){p, maker->width};
    }
    uint32_t len;
    memcpy(&len, p, sizeof len);
    return (struct ak_str){p + sizeof len, len};
}

static bool same(const void *ctx, uint32_t value, const void *key)
{
    return ak_str_eq(stored(ctx, value), *(const struct ak_str *)key);
}

static enum ak_rc add_distinct(struct maker *maker, uint64_t hash, struct ak_str value,
                               struct ak_err *err)
{
    struct ak_dictionary *dictionary = maker->dictionary;
    if (dictionary->plain.len + value.len + 4 > AK_PARQUET_DICT_MAX) {
        maker->is_over = true;
        return AK_OK;
    }
    if (dictionary->count == maker->place_cap) {
        uint32_t cap = maker->place_cap ? maker->place_cap * 2 : 256;
        uint32_t *grown = ak_try_realloc(maker->place, cap * sizeof *grown);
        if (!grown) {
            return ak_fail(err, AK_NOMEM, "dictionary of %u values", cap);
        }
        maker->place = grown;
        maker->place_cap = cap;
    }
    maker->place[dictionary->count] = (uint32_t)dictionary->plain.len;
    if (maker->width) {
        ak_buf_add_str(&dictionary->plain, value);
    } else {
        ak_parquet_put_bytes(&dictionary->plain, &value, 1);
    }
    enum ak_rc rc = ak_buf_check(&dictionary->plain, err);
    if (rc == AK_OK) {
        rc = ak_map_put(&maker->map, hash, &value, dictionary->count, same, maker, NULL, err);
    }
    dictionary->count += rc == AK_OK;
    return rc;
}

/* From bytes to u32. */
static enum ak_rc widen(struct maker *maker, struct ak_err *err)
{
    struct ak_dictionary *dictionary = maker->dictionary;
    const uint8_t *narrow = dictionary->own;
    uint32_t *wide = ak_try_alloc((size_t)maker->most * sizeof *wide);
    if (!wide) {
        return ak_fail(err, AK_NOMEM, "indexes of %llu values", (unsigned long long)maker->most);
    }
    for (uint64_t i = 0; i < dictionary->index_count; i++) {
        wide[i] = narrow[i];
    }
    ak_free(dictionary->own);
    dictionary->indexes = dictionary->own = wide;
    dictionary->is_wide = true;
    return AK_OK;
}

static void put_index(struct ak_dictionary *dictionary, uint32_t index)
{
    if (dictionary->is_wide) {
        ((uint32_t *)dictionary->own)[dictionary->index_count++] = index;
    } else {
        ((uint8_t *)dictionary->own)[dictionary->index_count++] = (uint8_t)index;
    }
}

/* The index of a value that is not among the recent ones. */
static enum ak_rc find(struct maker *maker, uint64_t hash, struct ak_str value, uint32_t *index,
                       struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    *index = ak_map_get(&maker->map, hash, &value, same, maker);
    if (*index == AK_MAP_NONE) {
        *index = maker->dictionary->count;
        rc = add_distinct(maker, hash, value, err);
        if (rc == AK_OK && *index == NARROW_MAX && !maker->is_over) {
            rc = widen(maker, err);
        }
    }
    return rc;
}

static enum ak_rc note(struct maker *maker, struct ak_str value, struct ak_err *err)
{
    struct place *known = &maker->places[ak_mix64((uintptr_t)value.p) % PLACES];
    maker->plain_bytes += value.len + (maker->width ? 0 : 4);
    if (known->index && known->p == value.p && known->len == value.len) {
        put_index(maker->dictionary, known->index - 1);
        return AK_OK;
    }
    uint64_t hash = ak_hash64_str(value);
    struct recent *recent = &maker->recent[hash % RECENT];
    if (!recent->index || !ak_str_eq(stored(maker, recent->index - 1), value)) {
        uint32_t index = 0;
        enum ak_rc rc = find(maker, hash, value, &index, err);
        if (rc != AK_OK || maker->is_over) {
            return rc;
        }
        recent->index = index + 1;
    }
    *known = (struct place){value.p, value.len, recent->index};
    put_index(maker->dictionary, recent->index - 1);
    return AK_OK;
}

/* The same for numbers, without a call where one is met again. */
static enum ak_rc note_word(struct maker *maker, const char *at, struct ak_err *err)
{
    uint64_t word = 0;
    if (maker->width == 4) {
        uint32_t half;
        memcpy(&half, at, sizeof half);
        word = half;
    } else {
        memcpy(&word, at, sizeof word);
    }
    uint64_t hash = ak_mix64(word);
    struct recent *recent = &maker->recent[hash % RECENT];
    maker->plain_bytes += maker->width;
    if (recent->word != word || !recent->index) {
        uint32_t index = 0;
        enum ak_rc rc = find(maker, hash, (struct ak_str){at, maker->width}, &index, err);
        if (rc != AK_OK || maker->is_over) {
            return rc;
        }
        *recent = (struct recent){word, index + 1};
    }
    put_index(maker->dictionary, recent->index - 1);
    return AK_OK;
}

static enum ak_rc note_row(struct maker *maker, const struct ak_parquet_values *values,
                           uint64_t row, struct ak_err *err)
{
    enum ak_rc rc = AK_OK;
    if (maker->column->is_list) {
        const char *list = values->row(values->ctx, row);
        for (uint32_t i = 0; i < maker->column->dimension && rc == AK_OK && !maker->is_over; i++) {
            rc = note_word(maker, list + i * maker->width, err);
        }
        return rc;
    }
    if (values->valid && !values->valid[row]) {
        return AK_OK;
    }
    if (maker->column->type == AK_PARQUET_BYTE_ARRAY || maker->column->type == AK_PARQUET_FIXED) {
        return note(maker, values->bytes[row], err);
    }
    return note_word(maker, (const char *)values->fixed + row * maker->width, err);
}

#define DELTA_MINIBLOCK 32u /* as DELTA_BINARY_PACKED has them here */

static int64_t integer_at(const struct ak_parquet_column *column,
                          const struct ak_parquet_values *values, uint64_t row)
{
    return column->type == AK_PARQUET_INT32 ? ((const int32_t *)values->fixed)[row]
                                            : ((const int64_t *)values->fixed)[row];
}

/* About what integers take as DELTA_BINARY_PACKED: each miniblock by its largest difference. */
static uint64_t delta_bytes(const struct ak_parquet_column *column,
                            const struct ak_parquet_values *values, uint64_t rows)
{
    uint64_t bits = 0;
    int64_t last = 0;
    int64_t least = INT64_MAX;
    int64_t most = INT64_MIN;
    unsigned count = 0;
    for (uint64_t row = 0; row < rows; row++) {
        if (values->valid && !values->valid[row]) {
            continue;
        }
        int64_t value = integer_at(column, values, row);
        int64_t delta = (int64_t)((uint64_t)value - (uint64_t)last); /* wraps, as the encoding */
        last = value;
        least = delta < least ? delta : least;
        most = delta > most ? delta : most;
        if (++count == DELTA_MINIBLOCK || row + 1 == rows) {
            uint64_t span = (uint64_t)most - (uint64_t)least;
            bits += DELTA_MINIBLOCK * (span ? 64u - (unsigned)__builtin_clzll(span) : 0) + 24;
            least = INT64_MAX;
            most = INT64_MIN;
            count = 0;
        }
    }
    return bits / 8;
}

/* What the values take without a dictionary. */
static uint64_t other_bytes(const struct maker *maker, const struct ak_parquet_values *values,
                            uint64_t rows)
{
    if (maker->column->encoding != AK_PARQUET_DELTA_BINARY_PACKED || maker->column->is_list) {
        return maker->plain_bytes;
    }
    return delta_bytes(maker->column, values, rows);
}

void ak_dictionary_release(struct ak_dictionary *dictionary)
{
    ak_free(dictionary->own);
    ak_buf_release(&dictionary->plain);
    *dictionary = (struct ak_dictionary){0};
}

enum ak_rc ak_dictionary_take(const struct ak_parquet_column *column,
                              const struct ak_parquet_codes *codes, uint64_t values,
                              struct ak_dictionary *dictionary, struct ak_err *err)
{
    *dictionary = (struct ak_dictionary){
        .indexes = codes->indexes, .index_count = values, .count = NARROW_MAX, .bits = 8};
    ak_buf_init(&dictionary->plain, AK_PARQUET_DICT_MAX + 1024);
    ak_buf_add(&dictionary->plain, codes->values, NARROW_MAX * ak_parquet_width(column->type));
    return ak_buf_check(&dictionary->plain, err);
}

enum ak_rc ak_dictionary_make(const struct ak_parquet_column *column,
                              const struct ak_parquet_values *values, uint64_t rows,
                              struct ak_dictionary *dictionary, struct ak_err *err)
{
    struct maker *maker = ak_try_zalloc(sizeof *maker);
    uint64_t most = column->is_list ? rows * column->dimension : rows;
    *dictionary = (struct ak_dictionary){0};
    ak_buf_init(&dictionary->plain, AK_PARQUET_DICT_MAX + 1024);
    dictionary->indexes = dictionary->own = ak_try_alloc((size_t)most);
    if (!maker || !dictionary->indexes) {
        ak_free(maker);
        ak_dictionary_release(dictionary);
        return ak_fail(err, AK_NOMEM, "dictionary of column '%s'", column->name);
    }
    maker->column = column;
    maker->dictionary = dictionary;
    maker->most = most;
    maker->width =
        column->type == AK_PARQUET_FIXED ? column->fixed_len : ak_parquet_width(column->type);
    ak_map_init(&maker->map);
    enum ak_rc rc = AK_OK;
    for (uint64_t row = 0; row < rows && rc == AK_OK && !maker->is_over; row++) {
        rc = note_row(maker, values, row, err);
    }
    dictionary->bits = ak_bit_width(dictionary->count > 1 ? dictionary->count - 1 : 0);
    uint64_t bytes = dictionary->plain.len + dictionary->index_count * dictionary->bits / 8;
    if (rc != AK_OK || maker->is_over || dictionary->count == 0 ||
        bytes >= other_bytes(maker, values, rows)) {
        ak_dictionary_release(dictionary);
    }
    ak_map_release(&maker->map);
    ak_free(maker->place);
    ak_free(maker);
    return rc;
}

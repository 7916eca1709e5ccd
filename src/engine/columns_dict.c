/* columns_dict.c — a column's dictionary and its codes by slot. Invariants: columns_priv.h. */
#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "engine/columns_priv.h"
#include <stdlib.h>
#include <string.h>

#define SLOT_CAP_MIN 1024u
#define ENTRY_CAP_MIN 64u
#define FOUND_CAP_MIN 8u
#define HEAP_OVERHEAD 16u /* what the allocator adds to a small block, about */

/* A value that is looked for: a scalar, or a set of codes. */
struct sought {
    enum ak_entry_type type;
    struct ak_str string;
    double number;
    bool boolean;
    const uint32_t *codes;
    uint32_t count;
};

struct ak_column *ak_column_open(struct ak_str key)
{
    struct ak_column *column = ak_try_zalloc(sizeof *column);
    char *copy = ak_try_alloc(key.len + 1);
    if (!column || !copy) {
        ak_free(column);
        ak_free(copy);
        return NULL;
    }
    if (key.len) {
        memcpy(copy, key.p, key.len);
    }
    copy[key.len] = '\0';
    column->key = (struct ak_str){copy, key.len};
    ak_map_init(&column->map);
    return column;
}

static bool owns_heap(const struct ak_column *column, uint32_t code)
{
    return column->types[code] == AK_ENTRY_STRING || column->types[code] == AK_ENTRY_SET;
}

void ak_column_clear(struct ak_column *column)
{
    for (uint32_t code = AK_CODE_FIRST; code < column->entry_end; code++) {
        if (owns_heap(column, code)) {
            ak_free(column->values[code].string);
        }
    }
    ak_free(column->codes);
    ak_free(column->unread);
    ak_free(column->values);
    ak_free(column->metas);
    ak_free(column->types);
    ak_free(column->is_number);
    ak_free(column->is_set);
    ak_free(column->found);
    column->codes = NULL;
    column->unread = NULL;
    column->values = NULL;
    column->metas = NULL;
    column->types = NULL;
    column->is_number = NULL;
    column->is_set = NULL;
    column->found = NULL;
    column->slot_cap = 0;
    column->entry_end = 0;
    column->entry_cap = 0;
    column->free_first = 0;
    column->set_count = 0;
    column->heap_bytes = 0;
    column->found_count = 0;
    column->found_cap = 0;
    ak_map_release(&column->map);
}

void ak_column_close(struct ak_column *column)
{
    if (column) {
        char *key;
        memcpy(&key, &column->key.p, sizeof key); /* ours: an ak_str only lends it as const */
        ak_column_clear(column);
        ak_free(key);
        ak_free(column);
    }
}

size_t ak_column_bytes(const struct ak_column *column)
{
    size_t per_entry = sizeof *column->values + sizeof *column->metas + sizeof *column->types;
    return sizeof *column + column->key.len + column->slot_cap * sizeof *column->codes +
           column->slot_cap / 8 + column->entry_cap * per_entry + column->entry_cap / 4 +
           column->found_cap * sizeof *column->found + ak_map_bytes(&column->map) +
           column->heap_bytes;
}

/* Make *p hold `count` items; the old ones stay. */
static bool resize(void *array, size_t count, size_t item_size)
{
    void *p;
    size_t bytes = 0;
    if (ak_mul_overflows(count, item_size, &bytes)) {
        return false;
    }
    memcpy(&p, array, sizeof p);
    p = ak_try_realloc(p, bytes);
    if (!p) {
        return false;
    }
    memcpy(array, &p, sizeof p);
    return true;
}

static bool reserve_slots(struct ak_column *column, uint64_t slots)
{
    if (slots <= column->slot_cap) {
        return true;
    }
    uint64_t cap = column->slot_cap + column->slot_cap / 2;
    cap = cap < SLOT_CAP_MIN ? SLOT_CAP_MIN : cap;
    cap = ((cap < slots ? slots : cap) + 63) & ~(uint64_t)63;
    if (!resize(&column->codes, cap, sizeof *column->codes) ||
        !resize(&column->unread, cap / 64, sizeof *column->unread)) {
        return false;
    }
    memset(column->codes + column->slot_cap, 0, (cap - column->slot_cap) * sizeof *column->codes);
    memset(column->unread + column->slot_cap / 64, 0xFF, (cap - column->slot_cap) / 8);
    column->slot_cap = cap;
    return true;
}

/* --- The dictionary --- */

static void set_bit(uint64_t *bits, uint32_t at, bool on)
{
    uint64_t bit = (uint64_t)1 << (at % 64);
    bits[at / 64] = on ? bits[at / 64] | bit : bits[at / 64] & ~bit;
}

static bool is_equal(const void *ctx, uint32_t code, const void *key)
{
    const struct ak_column *column = ctx;
    const struct sought *sought = key;
    const union ak_entry_value *value = &column->values[code];
    uint32_t len = column->metas[code].len;
    if (column->types[code] != sought->type) {
        return false;
    }
    switch (sought->type) {
    case AK_ENTRY_STRING:
        return len == sought->string.len && memcmp(value->string, sought->string.p, len) == 0;
    case AK_ENTRY_NUMBER:
        return !(value->number < sought->number) && !(value->number > sought->number);
    case AK_ENTRY_BOOL:
        return value->boolean == sought->boolean;
    case AK_ENTRY_SET:
        return len == sought->count &&
               memcmp(value->codes, sought->codes, len * sizeof *value->codes) == 0;
    case AK_ENTRY_FREE:
    default:
        return false;
    }
}

static uint64_t hash_of(const struct sought *sought)
{
    uint64_t bits = 0;
    double number = sought->number + 0.0; /* -0 and 0 are one number */
    switch (sought->type) {
    case AK_ENTRY_STRING:
        return ak_hash64_str(sought->string);
    case AK_ENTRY_NUMBER:
        memcpy(&bits, &number, sizeof bits);
        return ak_mix64(bits);
    case AK_ENTRY_SET:
        return ak_hash64(sought->codes, sought->count * sizeof *sought->codes);
    case AK_ENTRY_BOOL:
    case AK_ENTRY_FREE:
    default:
        return ak_mix64(1u + sought->boolean);
    }
}

static struct sought sought_value(const struct ak_filter_value *value)
{
    struct sought sought = {
        .string = value->string, .number = value->number, .boolean = value->boolean};
    sought.type = value->type == AK_VALUE_STRING   ? AK_ENTRY_STRING
                  : value->type == AK_VALUE_NUMBER ? AK_ENTRY_NUMBER
                                                   : AK_ENTRY_BOOL;
    if (sought.string.p == NULL) {
        sought.string = AK_STR("");
    }
    return sought;
}

static struct sought sought_entry(const struct ak_column *column, uint32_t code)
{
    struct sought sought = {.type = (enum ak_entry_type)column->types[code]};
    switch (sought.type) {
    case AK_ENTRY_STRING:
        sought.string = (struct ak_str){column->values[code].string, column->metas[code].len};
        break;
    case AK_ENTRY_NUMBER:
        sought.number = column->values[code].number;
        break;
    case AK_ENTRY_SET:
        sought.codes = column->values[code].codes;
        sought.count = column->metas[code].len;
        break;
    case AK_ENTRY_BOOL:
    case AK_ENTRY_FREE:
    default:
        sought.boolean = column->values[code].boolean != 0;
        break;
    }
    return sought;
}

static uint32_t find(const struct ak_column *column, const struct sought *sought)
{
    uint32_t code = ak_map_get(&column->map, hash_of(sought), sought, is_equal, column);
    return code == AK_MAP_NONE ? 0 : code;
}

uint32_t ak_column_code(const struct ak_column *column, const struct ak_filter_value *value)
{
    struct sought sought = sought_value(value);
    return find(column, &sought);
}

static bool reserve_entry(struct ak_column *column)
{
    uint32_t cap = column->entry_cap ? column->entry_cap * 2 : ENTRY_CAP_MIN;
    if (column->free_first || column->entry_end < column->entry_cap) {
        return true;
    }
    if (cap > AK_SLOTS_MAX || !resize(&column->values, cap, sizeof *column->values) ||
        !resize(&column->metas, cap, sizeof *column->metas) ||
        !resize(&column->types, cap, sizeof *column->types) ||
        !resize(&column->is_number, cap / 64, sizeof *column->is_number) ||
        !resize(&column->is_set, cap / 64, sizeof *column->is_set)) {
        return false;
    }
    uint32_t from = column->entry_cap;
    memset(column->values + from, 0, (cap - from) * sizeof *column->values);
    memset(column->metas + from, 0, (cap - from) * sizeof *column->metas);
    memset(column->types + from, AK_ENTRY_FREE, cap - from);
    memset(column->is_number + from / 64, 0, (cap - from) / 8);
    memset(column->is_set + from / 64, 0, (cap - from) / 8);
    column->entry_cap = cap;
    column->entry_end = column->entry_end ? column->entry_end : AK_CODE_FIRST;
    return true;
}

/* Heap bytes behind an entry. */
static size_t heap_size(const struct sought *sought)
{
    return sought->type == AK_ENTRY_STRING ? sought->string.len + 1
           : sought->type == AK_ENTRY_SET  ? sought->count * sizeof *sought->codes
                                           : 0;
}

/* A new entry without references; 0 without memory. */
static uint32_t add_entry(struct ak_column *column, const struct sought *sought)
{
    union ak_entry_value value = {.number = sought->number + 0.0};
    size_t heap = heap_size(sought);
    void *copy = heap ? ak_try_alloc(heap) : NULL;
    if ((heap && !copy) || !reserve_entry(column)) {
        ak_free(copy);
        return 0;
    }
    uint32_t code = column->free_first ? column->free_first : column->entry_end;
    if (ak_map_put(&column->map, hash_of(sought), sought, code, is_equal, column, NULL, NULL) !=
        AK_OK) {
        ak_free(copy);
        return 0;
    }
    if (code == column->entry_end) {
        column->entry_end++;
    } else {
        column->free_first = (uint32_t)column->values[code].next;
    }
    uint32_t len = sought->count;
    if (sought->type == AK_ENTRY_STRING && copy) {
        len = (uint32_t)sought->string.len;
        memcpy(copy, sought->string.p, len);
        ((char *)copy)[len] = '\0';
        value.string = copy;
    } else if (sought->type == AK_ENTRY_SET && copy) {
        memcpy(copy, sought->codes, heap);
        value.codes = copy;
        column->set_count++;
        for (uint32_t i = 0; i < len; i++) {
            column->metas[sought->codes[i]].refs++;
        }
    } else if (sought->type == AK_ENTRY_BOOL) {
        value.boolean = sought->boolean;
    }
    column->heap_bytes += heap ? heap + HEAP_OVERHEAD : 0;
    column->values[code] = value;
    column->metas[code] = (struct ak_entry_meta){.len = len};
    column->types[code] = (uint8_t)sought->type;
    set_bit(column->is_number, code, sought->type == AK_ENTRY_NUMBER);
    set_bit(column->is_set, code, sought->type == AK_ENTRY_SET);
    return code;
}

static void free_entry(struct ak_column *column, uint32_t code)
{
    struct sought sought = sought_entry(column, code);
    size_t heap = heap_size(&sought);
    (void)ak_map_remove(&column->map, hash_of(&sought), &sought, is_equal, column);
    if (owns_heap(column, code)) {
        ak_free(column->values[code].string);
    }
    column->heap_bytes -= heap ? heap + HEAP_OVERHEAD : 0;
    column->set_count -= column->types[code] == AK_ENTRY_SET;
    column->types[code] = AK_ENTRY_FREE;
    set_bit(column->is_number, code, false);
    set_bit(column->is_set, code, false);
    column->values[code].next = column->free_first;
    column->free_first = code;
}

static void unref(struct ak_column *column, uint32_t code)
{
    if (code < AK_CODE_FIRST || --column->metas[code].refs) {
        return;
    }
    if (column->types[code] == AK_ENTRY_SET) {
        for (uint32_t i = 0; i < column->metas[code].len;
             i++) { /* members are scalars: no deeper */
            uint32_t member = column->values[code].codes[i];
            if (--column->metas[member].refs == 0) {
                free_entry(column, member);
            }
        }
    }
    free_entry(column, code);
}

/* --- One slot --- */

void ak_column_begin(struct ak_column *column)
{
    column->found_count = 0;
    column->found_present = false;
    column->found_failed = false;
}

void ak_column_found(struct ak_column *column, const struct ak_filter_value *value)
{
    column->found_present = true;
    if (!value || column->found_failed) {
        return;
    }
    if (column->found_count == column->found_cap) {
        uint32_t cap = column->found_cap ? column->found_cap * 2 : FOUND_CAP_MIN;
        if (!resize(&column->found, cap, sizeof *column->found)) {
            column->found_failed = true;
            return;
        }
        column->found_cap = cap;
    }
    struct sought sought = sought_value(value);
    uint32_t code = find(column, &sought);
    code = code ? code : add_entry(column, &sought);
    column->found_failed = code == 0;
    column->found[column->found_count++] = code;
}

static int compare_codes(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* The code for all that was found; 0 with found_failed set: no memory. */
static uint32_t code_of_found(struct ak_column *column)
{
    uint32_t count = column->found_count;
    uint32_t distinct = count ? 1 : 0;
    if (count > 1) {
        qsort(column->found, count, sizeof *column->found, compare_codes);
    }
    for (uint32_t i = 1; i < count; i++) {
        if (column->found[i] != column->found[distinct - 1]) {
            column->found[distinct++] = column->found[i];
        }
    }
    if (distinct < 2) {
        return distinct                ? column->found[0]
               : column->found_present ? AK_CODE_PRESENT
                                       : AK_CODE_ABSENT;
    }
    struct sought set = {.type = AK_ENTRY_SET, .codes = column->found, .count = distinct};
    uint32_t code = find(column, &set);
    code = code ? code : add_entry(column, &set);
    column->found_failed = code == 0;
    return code;
}

bool ak_column_store(struct ak_column *column, uint64_t slot)
{
    uint32_t code = AK_CODE_ABSENT;
    if (!column->found_failed && reserve_slots(column, slot + 1)) {
        code = code_of_found(column);
    } else {
        column->found_failed = true;
    }
    if (column->found_failed) {
        ak_column_clear(column); /* entries just added have no references that would free them */
        return false;
    }
    if (code >= AK_CODE_FIRST) {
        column->metas[code].refs++;
    }
    unref(column, column->codes[slot]);
    column->codes[slot] = code;
    column->unread[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    return true;
}

void ak_column_cut(struct ak_column *column, uint64_t slots)
{
    uint64_t cap = (slots + 63) & ~(uint64_t)63;
    for (uint64_t slot = slots; slot < column->slot_cap; slot++) {
        unref(column, column->codes[slot]);
        column->codes[slot] = AK_CODE_ABSENT;
        column->unread[slot / 64] |= (uint64_t)1 << (slot % 64);
    }
    cap = cap < SLOT_CAP_MIN ? SLOT_CAP_MIN : cap;
    if (cap < column->slot_cap && resize(&column->codes, cap, sizeof *column->codes) &&
        resize(&column->unread, cap / 64, sizeof *column->unread)) {
        column->slot_cap = cap;
    }
}

/* columns_priv.h — one column: a dictionary of values and a code per slot.
 *
 *   codes[slot]     0                 the key is absent or null
 *                   AK_CODE_PRESENT   an object, or an array without scalars
 *                   2 …               an entry of the dictionary
 *   entry           a string, a number, a bool, or a set: two or more codes (sorted, distinct) of
 *                   scalar entries, for a slot whose key has several values
 *
 * A condition on values becomes a bitmap over codes (columns_eval.c), in which a set counts when
 * one of its members does; one pass over codes[] turns that into a bitmap over slots.
 *
 * C1  refs of an entry = slots with its code + sets that hold it; an entry without refs is free and
 *     its place is on the free list, so a dictionary never outgrows the rows that are stored.
 * C2  equal values share one entry: numbers by value (-0 is 0), strings by bytes, sets by members.
 * C3  unread bit clear ⇒ codes[slot] tells the metadata last stored there. At or past slot_cap
 *     every slot is unread.
 * C4  is_number and is_set have exactly the bits of the entries in use of that type.
 *
 * Threads: the owner's lock; ak_column_eval and ak_column_needs only read.
 */
#pragma once
#include "base/map.h"
#include "base/str.h"
#include "model/filter.h"
#include <stdatomic.h>

#define AK_CODE_ABSENT 0u
#define AK_CODE_PRESENT 1u
#define AK_CODE_FIRST 2u

enum ak_entry_type { AK_ENTRY_FREE, AK_ENTRY_STRING, AK_ENTRY_NUMBER, AK_ENTRY_BOOL, AK_ENTRY_SET };

union ak_entry_value {
    double number;
    char *string;    /* owned */
    uint32_t *codes; /* owned */
    uint64_t boolean;
    uint64_t next; /* of the free list; 0 ends it */
};

struct ak_entry_meta {
    uint32_t len; /* bytes of the string, members of the set */
    uint32_t refs;
};

struct ak_column {
    struct ak_str key; /* owned */
    uint32_t *codes;
    uint64_t *unread;
    uint64_t slot_cap; /* a multiple of 64 */
    /* The dictionary, by code. */
    union ak_entry_value *values;
    struct ak_entry_meta *metas;
    uint8_t *types;      /* enum ak_entry_type */
    uint64_t *is_number; /* bitmaps over codes */
    uint64_t *is_set;
    uint32_t entry_end;  /* codes given out so far are below */
    uint32_t entry_cap;  /* a multiple of 64 */
    uint32_t free_first; /* 0: none */
    uint32_t set_count;
    struct ak_map map; /* value → code */
    size_t heap_bytes; /* strings and sets */
    /* The slot being read: the codes found so far. */
    uint32_t *found;
    uint32_t found_count;
    uint32_t found_cap;
    bool found_present;
    bool found_failed;
    bool is_given_up;      /* over the memory ceiling: holds nothing, documents are read instead */
    _Atomic unsigned pins; /* matches that use it; raised under the lock, read by eviction */
    _Atomic uint64_t last_used; /* ticks of the owner; only compared */
};

/* --- columns_dict.c --- */

struct ak_column *ak_column_open(struct ak_str key); /* NULL: no memory */
void ak_column_close(struct ak_column *column);
void ak_column_clear(struct ak_column *column); /* everything is unread again, memory freed */
size_t ak_column_bytes(const struct ak_column *column);
/* Reading one slot: begin, one found per thing that the key holds, store. After a failed store
 * (AK_NOMEM) the column is cleared. */
void ak_column_begin(struct ak_column *column);
void ak_column_found(struct ak_column *column, const struct ak_filter_value *value);
AK_MUST bool ak_column_store(struct ak_column *column, uint64_t slot);
/* Slots at and past `slots` are unread, as if never stored; their memory goes. */
void ak_column_cut(struct ak_column *column, uint64_t slots);
/* The entry of a value, or 0 when no slot has it. */
uint32_t ak_column_code(const struct ak_column *column, const struct ak_filter_value *value);

/* --- columns_pass.c, columns_pass_avx2.c: 64 items → 64 bits, the first item lowest --- */

struct ak_column_passes {
    /* Codes that are one of wanted[count]. */
    uint64_t (*equal)(const uint32_t codes[64], const uint32_t *wanted, unsigned count);
    /* Codes whose bit is set in `hits`. */
    uint64_t (*look_up)(const uint32_t codes[64], const uint64_t *hits);
    /* Values within low..high, taken as numbers whatever they are. */
    uint64_t (*range)(const union ak_entry_value values[64], double low, double high);
};
const struct ak_column_passes *ak_column_passes(void); /* the best for this processor */
extern const struct ak_column_passes ak_column_passes_avx2;

/* --- columns_eval.c --- */

/* Slots of this word (64 of them) that are wanted and not read yet. */
static inline uint64_t ak_column_needs(const struct ak_column *column, uint64_t word,
                                       uint64_t wanted)
{
    return word * 64 < column->slot_cap ? wanted & column->unread[word] : wanted;
}
/* out = care ∧ leaf, word by word; every slot of care has been read. AK_NOMEM. */
AK_MUST enum ak_rc ak_column_eval(const struct ak_column *column, const struct ak_filter *leaf,
                                  uint64_t words, const uint64_t *care, uint64_t *out,
                                  struct ak_err *err);

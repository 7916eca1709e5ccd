/* columns.h — filters over all slots of a collection, without reading JSON for each query.
 *
 * A column holds, for one dotted key, a dictionary code per slot. It is made when a filter first
 * names its key, by reading the metadata of the slots that are live then; slots stored later are
 * read by ak_columns_set or, where that came before the column, at the next match. At most
 * AK_COLUMNS_MAX columns and AK_COLUMNS_BYTES_MAX bytes are kept; the least recently used one goes
 * first. A key whose column alone is over the ceiling is answered by reading documents, slowly.
 *
 * Answers equal ak_filter_matches() on every live slot.
 *
 * Threads: match and bytes from any, at the same time as one writer in set. A match that must make
 * a column lets a writer in after every few hundred documents; otherwise a writer waits for at most
 * one pass over a column. limit before any match.
 * Memory: metadata is borrowed for the call.
 */
#pragma once
#include "base/str.h"
#include "model/filter.h"

struct ak_columns;

/* The metadata last stored in `slot` (empty: none). Called on any thread that matches, and only for
 * slots that are live in that match's bitmap. It takes no lock of rank AK_RANK_COLUMNS or above. */
typedef struct ak_str (*ak_columns_metadata_fn)(void *ctx, uint32_t slot);

AK_MUST enum ak_rc ak_columns_open(struct ak_columns **columns, ak_columns_metadata_fn metadata,
                                   void *ctx, struct ak_err *err);
/* No other call may be under way; NULL is fine. */
void ak_columns_close(struct ak_columns *columns);
/* Lower ceilings than the defaults (0 keeps a default). */
void ak_columns_limit(struct ak_columns *columns, unsigned count_max, size_t bytes_max);

/* `metadata` was stored in `slot`, which no bitmap shows as live yet. Nearly free without columns.
 * Never fails: a column that finds no memory forgets what it has and is read anew. */
void ak_columns_set(struct ak_columns *columns, uint32_t slot, struct ak_str metadata);

/* No slot at or past `slots` is live, in any bitmap of a match to come or under way: what they held
 * is forgotten, and its memory given back. */
void ak_columns_cut(struct ak_columns *columns, uint64_t slots);

/* out[slots/64 rounded up] gets the live slots that satisfy the filter, *count how many. `live` has
 * as many words; bits at or past `slots` do not count. The caller holds what keeps live slots
 * readable and unchanged (the epoch) from before it took `live` until this returns. AK_NOMEM. */
AK_MUST enum ak_rc ak_columns_match(struct ak_columns *columns, const struct ak_filter *filter,
                                    uint64_t slots, const uint64_t *live, uint64_t *out,
                                    uint64_t *count, struct ak_err *err);
size_t ak_columns_bytes(const struct ak_columns *columns); /* memory in use */

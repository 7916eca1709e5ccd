/* index.h — vectors by slot: storage, exact search, and a navigable graph (HNSW).
 *
 * A slot is a u32 row number. add() stores a row and makes it findable at once: until a builder has
 * linked it into the graph, searches scan it (it is "pending"): in floats, or ordered by its code
 * and the best measured in floats. remove() leaves a tombstone that searches walk through but never
 * return; repair() rewires around tombstones and frees their slots for later adds, once no reader
 * can still hold them.
 *
 * Graph: HNSW (Malkov & Yashunin 2018) with rows filled by α-pruning (Vamana, Subramanya et al.
 * 2019); level 0 is a flat array of u32[2·m]. See the essay at the top of hnsw.c and docs/adr.
 *
 * Scores: cosine and dot: the similarity, higher is nearer; l2: the distance (root taken), lower is
 * nearer. Results are nearest first; equal scores in slot order.
 *
 * Threads: writer calls (add, remove, settle, thaw, freeze, unfreeze) one at a time: the owner
 * locks. build_some, renew, repair, search from any thread at any time. A search and everything
 * that uses its slots happens inside the epoch given at open.
 */
#pragma once
#include "base/epoch.h"
#include "index/image.h"
#include "model/collection.h"

struct ak_index;

struct ak_index_options {
    uint32_t dimension;
    enum ak_metric metric;
    struct ak_index_params params;
    uint64_t seed;          /* levels come from a hash of slot and seed */
    struct ak_epoch *epoch; /* required; outlives the index */
    uint32_t exact_below;   /* live rows up to which searches are exact; 0: chosen by dimension */
    uint32_t codes_from;    /* live rows from which on byte codes are kept, if wanted; 0: 2,048 */
};

AK_MUST enum ak_rc ak_index_open(const struct ak_index_options *options, struct ak_index **index,
                                 struct ak_err *err);
/* Over the sections of an image (views; `image` must outlive the index). Nothing is rebuilt. Every
 * count and link that could lead out of bounds is checked: AK_CORRUPT. */
AK_MUST enum ak_rc ak_index_load(const struct ak_index_options *options,
                                 const struct ak_image *image, struct ak_index **index,
                                 struct ak_err *err);
/* The rows of an image where they lie, without an index over them; views of the image. */
struct ak_index_rows {
    const char *vectors; /* f32[dimension] every `stride` bytes */
    size_t stride;
    uint64_t vectors_at; /* bytes from the beginning of the image */
    uint64_t slots, live;
    const uint64_t *dead; /* bitmap of slots that hold nothing; NULL: all are live */
};
AK_MUST enum ak_rc ak_index_rows_of(const struct ak_index_options *options,
                                    const struct ak_image *image, struct ak_index_rows *rows,
                                    struct ak_err *err);
void ak_index_close(struct ak_index *index); /* no other call may be under way; NULL is fine */

/* --- Writer --- */

/* Make a loaded index writable (copies small sections, maps large ones privately). Idempotent. */
AK_MUST enum ak_rc ak_index_thaw(struct ak_index *index, struct ak_err *err);
/* Copy what still lies in the image into memory of the index's own: the image may go once the epoch
 * has passed. Builders wait meanwhile. Idempotent; AK_NOMEM: a part may have been copied. */
AK_MUST enum ak_rc ak_index_own(struct ak_index *index, struct ak_err *err);
/* The slot that the next add() will use: a freed one or the first past the end. */
uint32_t ak_index_next_slot(const struct ak_index *index);
/* Room for `more` adds: they cannot fail after it, short of the machine running out of memory
 * pages. */
AK_MUST enum ak_rc ak_index_reserve(struct ak_index *index, uint32_t more, struct ak_err *err);
/* Would reserve(more) be quick: no row has to move, which waits for builders? */
bool ak_index_has_room(const struct ak_index *index, uint32_t more);
/* Store f32[dimension] (checked by the caller). AK_NOMEM, AK_TOO_BIG (slots used up). */
AK_MUST enum ak_rc ak_index_add(struct ak_index *index, const float *vector, uint32_t *slot,
                                struct ak_err *err);
/* Let codes be made anew when that is due, and take over those that are ready; adds do so now and
 * then. */
void ak_index_settle(struct ak_index *index);
/* Tombstone. No-op when already removed. */
void ak_index_remove(struct ak_index *index, uint32_t slot);

/* --- Builders: any thread --- */

/* Rows that wait to be linked; 0 while the index is so small that every search scans it. */
uint64_t ak_index_pending(const struct ak_index *index);
/* Link up to `max` pending rows; returns how many. 0: nothing to do, a freeze is on, or no memory.
 */
uint32_t ak_index_build_some(struct ak_index *index, uint32_t max);
/* When the rows have outgrown the codes: make new ones from a sample and encode every row, which
 * takes seconds for a million; true: ak_index_settle() puts them to use. Else, or when another
 * thread is at it, returns at once. */
bool ak_index_renew(struct ak_index *index);
/* Removed rows that repair has not dealt with: what it would free. */
uint64_t ak_index_tombstones(const struct ak_index *index);
/* Rewire around all present tombstones and free their slots; one at a time (a second call returns
 * at once). Re-links rows that would be left without incoming links. */
AK_MUST enum ak_rc ak_index_repair(struct ak_index *index, struct ak_err *err);

/* --- Vacuum: rows go to lower slots, and the slots behind the last one are given back --- */

/* Some live rows on their way from the highest slots to the lowest free ones (moves.c). In order:
 *
 *     begin            free slots are taken
 *     stage, until 0   the vectors are copied, a few at a time
 *     ready, show      both slots are live
 *     epoch passes     who enters from now on sees both, whatever it looks at first
 *     switch           what waits, or was linked, at the old slot is so at the new one
 *     relink           every link to an old slot leads to the new one
 *     epoch passes     nobody is left who looks at the old slots only
 *     end              the old slots are removed, and free once the epoch has passed
 *
 * Between show and end a search may return a row at both its slots, and never at none. A row that
 * is removed at its new slot meanwhile must be removed at its old one too. Links are moved and not
 * made anew, so that the graph stays as good as it was; where the level of no free slot is that of
 * the row, it is linked like a new one, and the old slot is a tombstone for repair(). No freeze may
 * come between begin and end. begin, stage, ready, show, switch, end and drop are writer calls. */
struct ak_index_moves;
struct ak_index_move {
    uint32_t from;
    uint32_t to; /* UINT32_MAX: it does not move, it was removed meanwhile */
};
/* At most `max`. *moves is NULL when no live row has a free slot below it, or repair, codes that
 * are being renewed or slabs that moved are in the way: then later. */
AK_MUST enum ak_rc ak_index_moves_begin(struct ak_index *index, uint32_t max,
                                        struct ak_index_moves **moves, struct ak_err *err);
/* Valid until end or drop. */
const struct ak_index_move *ak_index_moves_list(const struct ak_index_moves *moves,
                                                uint32_t *count);
/* Copy up to `max` more vectors; returns how many of the list are copied by now. */
uint32_t ak_index_moves_stage(struct ak_index_moves *moves, uint32_t max);
/* May they be shown? No call of a writer may come between this and show. AK_CONFLICT: rows or codes
 * have moved, drop them; AK_NOMEM. */
AK_MUST enum ak_rc ak_index_moves_ready(struct ak_index_moves *moves, struct ak_err *err);
void ak_index_moves_show(struct ak_index_moves *moves);
void ak_index_moves_switch(struct ak_index_moves *moves);
void ak_index_moves_relink(struct ak_index_moves *moves); /* any thread, outside the epoch */
void ak_index_moves_end(struct ak_index_moves *moves);    /* frees them */
void ak_index_moves_drop(struct ak_index_moves *moves);   /* not shown yet: as if never begun */

/* Free slots, those that no add can have yet among them. */
uint64_t ak_index_free(const struct ak_index *index);
/* Slots at the end that are free for use are slots no more; returns how many. When it is not 0,
 * ak_index_give_back() must follow when the epoch has passed: it gives back their memory. Writer
 * calls; no freeze between them. */
uint64_t ak_index_cut(struct ak_index *index);
void ak_index_give_back(struct ak_index *index);

/* --- Readers --- */

struct ak_hit {
    uint32_t slot;
    float score;
};

/* How a search looks for what a filter leaves. */
enum ak_index_way {
    AK_INDEX_WAY_BEST,    /* whichever of the others is estimated to be cheapest */
    AK_INDEX_WAY_EXACT,   /* every row that may be returned, in floats */
    AK_INDEX_WAY_CODES,   /* the same by codes, and the best of them in floats */
    AK_INDEX_WAY_PLAIN,   /* along the graph, through all rows */
    AK_INDEX_WAY_TWO_HOPS /* along the graph, through rows that may be returned */
};

struct ak_index_query {
    const float *vector;   /* f32[dimension]; any norm (cosine normalises) */
    uint32_t k;            /* 1..AK_K_MAX */
    uint32_t ef;           /* 0: the collection's; raised to k */
    const uint64_t *allow; /* bitmap of slots that may be returned, or NULL for all */
    uint64_t allow_slots;  /* bits in `allow`; slots at or past it are not allowed */
    uint64_t allow_count;  /* how many bits are set */
    bool exact;            /* scan everything */
    bool as_allowed; /* exactly the rows of `allow`, also those removed since it was taken: they
                      * stay readable in the epoch that the caller was in by then */
    enum ak_index_way way; /* with `allow`: measurements and tests take one. CODES without as well:
                            * nearly exact, and few rows are read from disk */
};

struct ak_index_effort { /* what a search cost, for metrics and tests */
    uint64_t distances;
    uint64_t hops;
    bool was_exact; /* every row that may be returned was looked at */
    enum ak_index_way way;
};

/* hits[k] gets min(k, live allowed rows) results; *count how many. `effort` may be NULL. AK_NOMEM.
 */
AK_MUST enum ak_rc ak_index_search(struct ak_index *index, const struct ak_index_query *query,
                                   struct ak_hit *hits, uint32_t *count,
                                   struct ak_index_effort *effort, struct ak_err *err);
/* About how many distances this search will compute: callers decide where to run it. */
uint64_t ak_index_cost(const struct ak_index *index, const struct ak_index_query *query);
const struct ak_index_options *ak_index_options_of(const struct ak_index *index); /* as opened */
/* Is there a graph, and large enough a number of rows for searches to use it? */
bool ak_index_has_graph(const struct ak_index *index);
/* Rows ever used, and rows that are live. */
uint64_t ak_index_slots(const struct ak_index *index);
uint64_t ak_index_live(const struct ak_index *index);
bool ak_index_is_live(const struct ak_index *index, uint32_t slot);
/* Copy the live bitmap of slots [0, slots) (multiple-of-64 words) into `words`. */
void ak_index_live_bitmap(const struct ak_index *index, uint64_t *words, uint64_t slots);
/* The row as stored, bit for bit; valid inside the epoch. */
const float *ak_index_vector(const struct ak_index *index, uint32_t slot);
/* The rows of these slots will be read soon, one here, one there: where they lie in a file, they
 * are asked for together, without waiting. Inside the epoch. */
void ak_index_will_read(const struct ak_index *index, const uint32_t *slots, uint32_t count);
size_t ak_index_bytes(const struct ak_index *index); /* memory in use */
/* What it goes to, as last counted by the writer: now and then while rows are added. */
struct ak_index_memory {
    uint64_t vectors; /* memory of rows in floats */
    uint64_t files;   /* rows in floats that are pages of a file, which may or may not be in RAM */
    uint64_t codes;   /* with what belongs to them */
    uint64_t links;
    uint64_t rest; /* bitmaps, lists, what searches and builders work in */
};
void ak_index_memory(const struct ak_index *index, struct ak_index_memory *memory);
/* Score of one row as search would give it. */
float ak_index_score(const struct ak_index *index, const float *query, uint32_t slot);

/* --- Checkpoint --- */

/* Fix the state that the next write() calls describe: rows, tombstones, pending list; slots are not
 * reused and builders wait until unfreeze. Called under the owner's writer lock. */
AK_MUST enum ak_rc ak_index_freeze(struct ak_index *index, struct ak_err *err);
/* Write the sections of the frozen state; adds and removes may go on meanwhile. Builders resume
 * after the links are written. */
AK_MUST enum ak_rc ak_index_write(struct ak_index *index, struct ak_image_writer *writer,
                                  struct ak_err *err);
/* The frozen state, valid until unfreeze: rows, and the bitmap of rows that are live (rows/64
 * words). */
uint64_t ak_index_frozen_slots(const struct ak_index *index);
const uint64_t *ak_index_frozen_live(const struct ak_index *index);
void ak_index_unfreeze(struct ak_index *index);

/* Of an index whose vectors are to be on disk: between the writing of an image and unfreeze, its
 * rows are taken from the image's file, and the memory that they were in is given back once the
 * epoch has passed. begin() from the thread that froze it, without the writer lock: maps the file,
 * and copies what came since. end() under the lock. The image may be closed after begin().
 * AK_UNSUPPORTED: there is nothing to take (vectors in RAM, few rows, no file). After any failure
 * the rows are where they were. */
struct ak_slab_switch;
AK_MUST enum ak_rc ak_index_switch_begin(struct ak_index *index, const struct ak_image *image,
                                         struct ak_slab_switch *to, struct ak_err *err);
AK_MUST enum ak_rc ak_index_switch_end(struct ak_index *index, struct ak_slab_switch *to,
                                       struct ak_err *err);
/* Give back the memory that pages of the file take. The writer's. */
void ak_index_let_go(struct ak_index *index);

/* --- Validator --- */

struct ak_index_report {
    uint64_t live, tombstones, free_slots, pending;
    uint64_t unreachable; /* live linked rows that no walk from the entry point meets */
    double mean_degree;
};
/* Every invariant of hnsw.c: AK_CORRUPT names the first broken one and the slot. No writer or
 * builder may run. */
AK_MUST enum ak_rc ak_index_check(const struct ak_index *index, struct ak_index_report *report,
                                  struct ak_err *err);
/* The same without encoding every vector again to compare it with its code, which takes most of the
 * time: codes that are wrong cost recall, nothing else. */
AK_MUST enum ak_rc ak_index_check_graph(const struct ak_index *index,
                                        struct ak_index_report *report, struct ak_err *err);

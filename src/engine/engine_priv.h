/* engine_priv.h — the parts of an engine: entries, live collections, document storage.
 *
 * Locks, in rank order: keeper (one checkpoint, repair or eviction at a time) → collection (its
 * writer) → tier (what the catalog is told of tiers) → directory (entries, maps, references, dirty
 * list) → builders. Readers of rows take none: they are inside the epoch.
 */
#pragma once
#include "base/epoch.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/slab.h"
#include "base/sync.h"
#include "catalog/catalog.h"
#include "engine/columns.h"
#include "engine/engine.h"
#include "index/index.h"
#include "index/recall.h"

#define AK_TINY_IMAGE_MAX (64u << 10)
#define AK_IMAGE_PATH_MAX 4096

/* --- docs.c: what a collection knows of a slot besides its vector --- */

struct ak_text_ref {
    uint64_t at; /* in the text slab: external id, then metadata */
    uint32_t external_len;
    uint32_t metadata_len;
};

struct ak_doc_text {
    struct ak_slab refs;  /* struct ak_text_ref */
    struct ak_slab bytes; /* append only */
};

struct ak_docs {
    struct ak_slab ids;                 /* struct ak_uuid */
    struct ak_slab times;               /* i64 µs */
    _Atomic(struct ak_doc_text *) text; /* replaced by ak_docs_compact: pairs with text_now() */
    uint64_t slots;                     /* rows used */
    uint64_t text_len;
    uint64_t text_dead; /* bytes of removed documents */
    uint32_t doubled;   /* documents that lie in two slots: vacuum.c */
    struct ak_map map;  /* id → slot; filled by ak_docs_index */
    bool mapped;        /* the map is complete */
};

void ak_docs_init(struct ak_docs *docs, struct ak_epoch *epoch);
/* The sections of an image that hold documents, checked against each other; views of the image. */
struct ak_docs_sections {
    struct ak_image_section ids, times, refs, text;
    uint64_t lsn; /* that the image stands for where it was made */
    uint64_t text_len;
};
AK_MUST enum ak_rc ak_docs_sections(const struct ak_image *image, uint64_t slots,
                                    struct ak_docs_sections *sections, struct ak_err *err);
AK_MUST enum ak_rc ak_docs_load(struct ak_docs *docs, struct ak_epoch *epoch,
                                const struct ak_image *image, uint64_t slots, uint64_t *lsn,
                                struct ak_err *err);
void ak_docs_release(struct ak_docs *docs);
/* Fill the map from the ids of live slots; idempotent. AK_CORRUPT: an id twice. */
AK_MUST enum ak_rc ak_docs_index(struct ak_docs *docs, const struct ak_index *index,
                                 struct ak_err *err);
AK_MUST enum ak_rc ak_docs_thaw(struct ak_docs *docs, struct ak_err *err);
/* Copy what still lies in the image. Writer lock held. */
AK_MUST enum ak_rc ak_docs_own(struct ak_docs *docs, struct ak_err *err);
/* Make sure that slots below `slots` and `text` more bytes can be stored without failing. */
AK_MUST enum ak_rc ak_docs_reserve(struct ak_docs *docs, uint64_t slots, uint32_t new_ids,
                                   uint64_t text, struct ak_err *err);
uint32_t ak_docs_find(const struct ak_docs *docs, const struct ak_uuid *id); /* or AK_MAP_NONE */
/* Cannot fail after reserve. Returns the slot that held this id before, or AK_MAP_NONE. */
uint32_t ak_docs_set(struct ak_docs *docs, uint32_t slot, const struct ak_document *doc);
void ak_docs_remove(struct ak_docs *docs, uint32_t slot); /* leaves the row's data for readers */
struct ak_uuid *ak_docs_id(const struct ak_docs *docs, uint32_t slot);
int64_t ak_docs_time(const struct ak_docs *docs, uint32_t slot);
struct ak_str ak_docs_external_id(const struct ak_docs *docs, uint32_t slot);
struct ak_str ak_docs_metadata(const struct ak_docs *docs, uint32_t slot);
/* The document of slot `from` is that of slot `to` as well, and found there by its id. */
void ak_docs_move(struct ak_docs *docs, uint32_t from, uint32_t to);
/* Slots from `slots` on are used no more; the second gives back what they took, once the epoch has
 * passed. */
void ak_docs_cut(struct ak_docs *docs, uint64_t slots);
void ak_docs_give_back(struct ak_docs *docs);
/* Sections of slots [0, slots), text of live ones only. */
AK_MUST enum ak_rc ak_docs_write(const struct ak_docs *docs, uint64_t slots, const uint64_t *live,
                                 uint64_t lsn, struct ak_image_writer *writer, struct ak_err *err);
uint64_t ak_docs_image_bytes(const struct ak_docs *docs, uint64_t slots);
/* Rewrite the text without its dead bytes, when that pays. Writer lock held. */
AK_MUST enum ak_rc ak_docs_compact(struct ak_docs *docs, const struct ak_index *index,
                                   struct ak_err *err);
size_t ak_docs_bytes(const struct ak_docs *docs);

/* --- record.c: log records of the engine --- */

enum ak_record_kind { AK_RECORD_UPSERT = 1, AK_RECORD_DELETE = 2 };

/* Payload of an upsert: 32 bytes of head {collection id, u32 dimension, u32 count, u64 reserved},
 * then per document {id, i64 µs, u32 external_len, u32 metadata_len, f32[dimension], external id,
 * metadata} padded to 8. Of a delete: the same head (dimension 0), then ids. */
AK_MUST enum ak_rc ak_record_upsert(const struct ak_uuid *collection, uint32_t dimension,
                                    const struct ak_document *docs, size_t count,
                                    struct ak_buf *out, struct ak_err *err);
AK_MUST enum ak_rc ak_record_delete(const struct ak_uuid *collection, const struct ak_uuid *ids,
                                    size_t count, struct ak_buf *out, struct ak_err *err);
struct ak_record_reader {
    struct ak_uuid collection;
    uint32_t kind;
    uint32_t dimension;
    uint32_t left;
    struct ak_str rest;
};
AK_MUST enum ak_rc ak_record_open(uint32_t kind, struct ak_str payload,
                                  struct ak_record_reader *reader, struct ak_err *err);
/* Next document (views into the payload; the vector is 8-byte aligned when the payload is). false
 * at the end; *rc is AK_CORRUPT when the bytes do not fit. */
bool ak_record_next_document(struct ak_record_reader *reader, struct ak_document *doc,
                             enum ak_rc *rc, struct ak_err *err);
bool ak_record_next_id(struct ak_record_reader *reader, struct ak_uuid *id, enum ak_rc *rc,
                       struct ak_err *err);

/* --- directory.c --- */

struct ak_entry {
    struct ak_collection_info info; /* strings owned: one allocation behind the entry */
    struct ak_checkpoint checkpoint;
    struct ak_collection *live; /* NULL: closed */
    ak_lsn dirty_from;          /* not above any log record that the image lacks; 0: clean */
    uint64_t wal_bytes;         /* log since the checkpoint */
    bool is_written;            /* dirty by a write, or by one that is under way; not only links */
    struct ak_entry *dirty_next, *dirty_prev;
    struct ak_catalog_tier tier; /* as it is now; the catalog may know it later: tiering.c */
    uint32_t accesses;           /* since the process started */
    bool tier_unsaved;           /* by a write: the next flush tells the catalog */
    bool moving;                 /* between tiers */
    uint32_t index;              /* in the directory's array */
    bool opening;                /* a thread is loading it: wait on directory.changed */
    _Atomic bool dropped;        /* out of the maps; freed with its last reference */
    _Atomic bool went_cold;      /* dropped, because the collection is COLD now: writes say so */
    _Atomic bool in_doubt; /* a replacement or drop may be in the catalog or not: no writes (A4) */
};

struct ak_directory {
    struct ak_mutex lock;
    struct ak_cond changed;    /* opening finished, references dropped */
    struct ak_entry **entries; /* NULL: free place */
    uint32_t used, cap;
    uint32_t *free_places;
    uint32_t free_count, free_cap;
    struct ak_map by_name, by_id;
    struct ak_entry dirty;                      /* head of the ring of dirty entries */
    struct ak_collection *lru_first, *lru_last; /* live ones, most recently used last */
    struct ak_collection *graves; /* closed, to be freed by ak_collection_bury(); by lru_next */
    uint32_t live_count;
    uint32_t tiers_unsaved;
    uint64_t small_bytes; /* memory of live small collections, as last counted */
    uint64_t dirty_count;
};

void ak_directory_init(struct ak_directory *dir);
void ak_directory_release(struct ak_directory *dir);
/* Copies the strings. AK_NOMEM, AK_TOO_BIG. Lock held by the caller for all of these. */
AK_MUST enum ak_rc ak_directory_add(struct ak_directory *dir, const struct ak_catalog_row *row,
                                    struct ak_entry **entry, struct ak_err *err);
struct ak_entry *ak_directory_find(struct ak_directory *dir, struct ak_str name_or_id);
struct ak_entry *ak_directory_find_id(struct ak_directory *dir, const struct ak_uuid *id);
void ak_directory_remove(struct ak_directory *dir, struct ak_entry *entry); /* from the maps */
void ak_directory_free(struct ak_directory *dir, struct ak_entry *entry);
/* The two halves of a replacement (adopt.c): an entry of its own, to be released with ak_free until
 * it takes the place of `old`, which has the same id and name. Neither can be seen half done. */
AK_MUST enum ak_rc ak_directory_make(const struct ak_catalog_row *row, struct ak_entry **entry,
                                     struct ak_err *err);
void ak_directory_replace(struct ak_directory *dir, struct ak_entry *old, struct ak_entry *fresh);
void ak_directory_mark_dirty(struct ak_directory *dir, struct ak_entry *entry, ak_lsn lsn,
                             uint64_t bytes);
/* The same for a write that is about to be logged. */
void ak_directory_mark_written(struct ak_directory *dir, struct ak_entry *entry, ak_lsn lsn);
void ak_directory_mark_clean(struct ak_directory *dir, struct ak_entry *entry);
/* A checkpoint that had marked it clean did not finish: what it stood for counts again. */
void ak_directory_mark_dirty_again(struct ak_directory *dir, struct ak_entry *entry, ak_lsn lsn,
                                   uint64_t bytes);
void ak_directory_rotate_dirty(struct ak_directory *dir, struct ak_entry *entry); /* to the end */

/* --- calibrate.c: which ef a recall needs --- */

#define AK_CALIBRATION_KEPT 128u /* queries remembered, and put to the index at most */

struct ak_calibration {
    struct ak_mutex lock; /* queries, next */
    float *queries;       /* f32[AK_CALIBRATION_KEPT][dimension]; NULL until a search asks */
    uint32_t next;
    _Atomic uint32_t count;      /* changed under the lock, read anywhere: relaxed */
    _Atomic bool keeps;          /* queries is not NULL: relaxed, for accounting */
    _Atomic bool wanted;         /* a builder shall measure, or does. Release: `run` is left */
    _Atomic uint32_t had;        /* `count` when the last measurement began: relaxed */
    _Atomic uint32_t kept;       /* queries kept since the last measurement: relaxed */
    _Atomic int64_t measured_ns; /* when that began: relaxed */
    _Atomic uint64_t changes;    /* rows written and removed since the last measurement: relaxed */
    _Atomic(struct ak_recall_curve *) curve; /* retired through the epoch; NULL: not measured */
    atomic_flag working;                     /* from here on: whoever set it */
    struct ak_recall_run *run;
    float *query; /* f32[dimension] */
    uint32_t asked, goal, real;
    struct ak_rand rand;
};

/* --- collection.c --- */

struct ak_collection {
    struct ak_engine *engine;
    struct ak_entry *entry;
    uint32_t refs;         /* directory lock */
    bool in_build_list;    /* build lock */
    bool is_small;         /* counted in small_bytes */
    bool closes_when_idle; /* it went WARM: its memory goes with the last reference */
    uint64_t counted_bytes;
    _Atomic uint64_t docs_bytes;               /* of `docs`, as last counted: pairs with itself */
    struct ak_collection *lru_next, *lru_prev; /* directory lock */
    struct ak_collection *build_next;          /* build lock */
    struct ak_mutex lock;                      /* the writer */
    struct ak_image *image; /* what the slabs may be views of; NULL: all is memory of its own */
    struct ak_index *index;
    struct ak_docs docs;
    struct ak_columns *columns;
    struct ak_calibration calibration;
    bool thawed;
    /* Vectors on disk: memory of rows that no image's file holds. Directory lock: */
    uint64_t loose_kept;        /* after the last image: it could not take them over */
    uint64_t loose_seen;        /* by the keeper, beyond that */
    int64_t loose_since_ns;     /* as many as that since */
    _Atomic bool is_borrowed;   /* rows may lie in `image`; pairs with itself: only a hint */
    _Atomic int64_t brought_ns; /* pages of `image` were asked for: pairs with itself */
    ak_lsn applied;             /* writer lock: everything logged for it below this is in memory */
    _Atomic uint64_t documents;
    /* Documents that went to another slot. Counted after the new one can be seen and before the old
     * one is gone: a reader that finds it unchanged has missed none (pairs with find_hits()). */
    _Atomic uint64_t moved;
    /* Documents on their way to a lower slot, which lie in both: a search asks for so many more. */
    _Atomic uint32_t doubled;
    struct ak_index_move *ways; /* theirs, in the order of the new slots: writer lock */
    uint32_t ways_count;
    bool is_vacuumed; /* the image in use has slots that were given back: directory lock */
};

/* Directory lock held; *collection has one more reference. May drop and retake the lock to load. */
AK_MUST enum ak_rc ak_collection_open_entry(struct ak_engine *engine, struct ak_entry *entry,
                                            struct ak_collection **collection, struct ak_err *err);
/* Directory lock held, no references: out of everything. Caller made sure it is clean or dropped.
 * Its memory goes with the next ak_collection_bury(). */
void ak_collection_close_live(struct ak_collection *collection);
/* Free what was closed, which takes a while. Directory lock not held. */
void ak_collection_bury(struct ak_engine *engine);
void ak_collection_unref_locked(struct ak_collection *collection);
/* Memory of its own, as last counted. */
size_t ak_collection_bytes(const struct ak_collection *collection);
/* Count it anew, also in directory.small_bytes. Writer and directory lock held. */
void ak_collection_recount(struct ak_collection *collection);
void ak_collection_image_path(const struct ak_engine *engine, const struct ak_uuid *id,
                              uint64_t generation, char path[AK_IMAGE_PATH_MAX]);

struct ak_index_options ak_collection_index_options(const struct ak_engine *engine,
                                                    const struct ak_collection_info *info);

/* --- tiering.c --- */

/* A write came: what is WARM is HOT. Directory lock held. */
void ak_tier_written(struct ak_engine *engine, struct ak_entry *entry);
/* The entry is used. Directory lock held. */
void ak_tier_used(struct ak_entry *entry, int64_t now_us);
/* The entry that is current for the id counts as moving, or not any more. The first fails with
 * AK_CONFLICT while another move is under way, AK_IO in doubt; directory lock held. */
AK_MUST enum ak_rc ak_tier_begin_move(struct ak_entry *entry, struct ak_err *err);
void ak_tier_end_move(struct ak_engine *engine, const struct ak_uuid *id);
/* Copy what the catalog shall be told of the entry, which counts as told. Directory lock held. */
void ak_tier_take(struct ak_directory *dir, struct ak_entry *entry,
                  struct ak_catalog_tier_change *change);
/* tier_lock held since the taking. What could not be told is to be told by the next flush. */
AK_MUST enum ak_rc ak_tier_tell(struct ak_engine *engine,
                                const struct ak_catalog_tier_change *changes, size_t count,
                                struct ak_err *err);
enum ak_rc ak_tier_not_found(struct ak_str name_or_id, struct ak_err *err);
AK_MUST enum ak_rc ak_tier_is_cold(const struct ak_entry *entry, struct ak_err *err); /* AK_COLD */

/* --- pages.c --- */

/* Ask the system for what opening reads of an image, and searches read again and again. */
void ak_pages_bring(const struct ak_image *image);
/* Around a search of a collection that may lie in its image, in one thread, without locks: pages
 * that are missing are asked for, and too many that were mapped given back. */
void ak_pages_before_search(struct ak_collection *collection, struct ak_memory_faults *before);
void ak_pages_after_search(struct ak_collection *collection, const struct ak_memory_faults *before);
/* Give back what moves have freed on the heap. */
void ak_pages_trim(struct ak_engine *engine);
/* Give back pages of images, least recently used first, while the process is too large. */
void ak_pages_let_go(struct ak_engine *engine);

/* --- adopt.c: one entry for another --- */

struct ak_replacement {
    struct ak_entry *old;
    struct ak_entry *fresh;
    struct ak_collection *live; /* referenced, or NULL: closed, and kept closed by `opening` */
    bool is_locked;             /* live->lock and engine->tier_lock are held */
};
/* Find the entry of row->info.id and keep it as it is: *row gets what it says. keeper.work held. */
AK_MUST enum ak_rc ak_replace_begin(struct ak_engine *engine, struct ak_catalog_row *row,
                                    struct ak_replacement *swap, struct ak_err *err);
/* From here nobody writes to it, and its tier stays: row->tier is it. */
void ak_replace_lock(struct ak_engine *engine, struct ak_catalog_row *row,
                     struct ak_replacement *swap);
/* `fresh` with row's checkpoint and tier takes the place of `old`; or, when rc is a failure, all is
 * as before, or in doubt. Consumes what begin and lock took. */
void ak_replace_end(struct ak_engine *engine, struct ak_replacement *swap,
                    const struct ak_catalog_row *row, enum ak_rc rc,
                    struct ak_collection_info *adopted);

/* --- calibrate.c --- */

void ak_calibration_init(struct ak_calibration *calibration);
void ak_calibration_release(struct ak_calibration *calibration); /* no search, no builder */
size_t ak_calibration_bytes(const struct ak_collection *collection);
/* query->ef and query->exact as the search wants them. Inside the epoch. */
void ak_calibration_choose(const struct ak_collection *collection, const struct ak_search *search,
                           struct ak_index_query *query);
/* The search has been answered, inside the epoch. true: call start, outside of it. */
bool ak_calibration_note(struct ak_collection *collection, const struct ak_search *search,
                         uint64_t distances);
void ak_calibration_start(struct ak_collection *collection);
bool ak_calibration_is_wanted(const struct ak_collection *collection);
/* Measure for a few milliseconds; true: there is more to do. */
bool ak_calibration_share(struct ak_collection *collection);
/* The section of the image, when there is a curve; inside the epoch. */
AK_MUST enum ak_rc ak_calibration_write(const struct ak_collection *collection,
                                        struct ak_image_writer *writer, struct ak_err *err);
AK_MUST enum ak_rc ak_calibration_load(struct ak_collection *collection, struct ak_err *err);

/* --- write.c --- */

/* Make a collection that was opened from an image writable, for writers and builders. Takes the
 * writer lock; idempotent. */
AK_MUST enum ak_rc ak_collection_thaw(struct ak_collection *collection, struct ak_err *err);
/* Put one log record's effect into memory (replay). Takes the writer lock. */
AK_MUST enum ak_rc ak_collection_apply(struct ak_collection *collection,
                                       struct ak_record_reader *reader, ak_lsn next,
                                       struct ak_err *err);

/* --- vacuum.c --- */

/* Are so many slots without a document that it shall be vacuumed? */
bool ak_vacuum_is_due(const struct ak_engine *engine, const struct ak_collection *collection);
/* Do a share of it; keeper.work held. true: there was something to do, and may be more. */
bool ak_vacuum_share(struct ak_engine *engine, struct ak_collection *collection);
/* The document in `slot` has gone: also where it was, when it is on its way. Writer lock held. */
void ak_vacuum_forget(struct ak_collection *collection, uint32_t slot);
/* Take the old slots of documents on their way out of a bitmap; how many were in it. Writer lock
 * held. */
uint64_t ak_vacuum_hide(const struct ak_collection *collection, uint64_t *bits, uint64_t slots);

/* --- background.c --- */

struct ak_builders {
    struct ak_mutex lock;
    struct ak_cond wake;
    struct ak_collection *first, *last; /* each holds a reference */
    struct ak_thread *threads;
    unsigned count;
    bool stop;
};

struct ak_keeper {
    struct ak_mutex lock; /* wake and stop only */
    struct ak_cond wake;
    struct ak_mutex work; /* held over one pass: checkpoints, repairs and evictions are serial */
    struct ak_thread thread;
    struct ak_thread trimmer; /* when there is a resident_max_bytes: no checkpoint holds it up */
    bool has_trimmer;
    bool stop;
    bool poked;
    int64_t not_before_ns; /* after a full disk: no checkpoints until then; keeper.work */
    int64_t pause_ms;
};

void ak_builders_start(struct ak_engine *engine);
void ak_builders_stop(struct ak_engine *engine);
/* Links were made or repaired that the image in use may lack: the collection counts as dirty, with
 * nothing in the log, so that the next checkpoint (at the latest that of an orderly end) keeps the
 * work. */
void ak_collection_keep_links(struct ak_collection *collection);
void ak_builders_want(struct ak_collection *collection); /* there are pending rows */
/* New codes where the rows have outgrown the old ones, also when nobody writes any more; the
 * collection is thawed. */
void ak_collection_renew(struct ak_collection *collection);
/* Rewire the graph around removed rows, and rewrite the text without theirs. */
AK_MUST enum ak_rc ak_collection_repair(struct ak_collection *collection, struct ak_err *err);
AK_MUST enum ak_rc ak_keeper_start(struct ak_engine *engine, struct ak_err *err);
void ak_keeper_stop(struct ak_engine *engine);
void ak_keeper_poke(struct ak_engine *engine);

/* --- checkpoint.c --- */

/* One collection; reference held by the caller, keeper.work held. */
AK_MUST enum ak_rc ak_checkpoint_one(struct ak_engine *engine, struct ak_collection *collection,
                                     struct ak_err *err);
/* Every dirty collection that `wanted` picks (all when NULL), tiny ones many to a transaction.
 * keeper.work held. A failure is logged and returned after the others were tried. */
AK_MUST enum ak_rc ak_checkpoint_dirty(struct ak_engine *engine,
                                       bool (*wanted)(const struct ak_engine *,
                                                      const struct ak_entry *),
                                       struct ak_err *err);
/* Persist wal_from and drop log segments below it. */
AK_MUST enum ak_rc ak_checkpoint_release_log(struct ak_engine *engine, struct ak_err *err);

/* --- hold.c --- */

/* The file of an image that is no longer current goes, at once or with the last hold on it.
 * keeper.work held, so that no hold begins meanwhile. */
void ak_hold_remove_image(struct ak_engine *engine, const struct ak_uuid *id,
                          const struct ak_checkpoint *checkpoint);

struct ak_engine {
    struct ak_fs *fs;
    char *dir;
    const struct ak_clock *clock;
    struct ak_log *log;
    struct ak_metrics *metrics;
    struct ak_uuid_maker uuids;
    struct ak_epoch *epoch;
    struct ak_catalog *catalog;
    struct ak_wal *wal;
    _Atomic bool replayed; /* wal may be used by builders: pairs with its store in open_parts() */
    struct ak_file *lock_file;
    struct ak_directory directory;
    struct ak_hold *holds; /* directory lock */
    struct ak_mutex tier_lock;
    _Atomic bool wants_trim;        /* pair with themselves: hints for the keeper */
    _Atomic bool wants_close;       /* a collection that went WARM is dirty by links */
    _Atomic bool lets_go;           /* pages are being given back: pairs with itself */
    _Atomic uint64_t mapped_faults; /* by searches, since pages were last given back: a hint */
    struct ak_builders builders;
    struct ak_keeper keeper;
    uint64_t wal_max_bytes, checkpoint_bytes, pending_max_bytes, idle_bytes, resident_max_bytes;
    unsigned build_threads, vacuum_percent;
    bool wants_images; /* of vacuumed collections; keeper.work */
    ak_lsn wal_from;   /* as persisted; keeper.work */
    uint64_t replayed_records, replayed_skipped;
    struct ak_series *m_indexed, *m_deleted, *m_linked, *m_pending, *m_wal_seconds, *m_wal_records,
        *m_wal_bytes, *m_ckpt_seconds, *m_ckpt_bytes, *m_ckpt_failed, *m_search_exact,
        *m_search_distances, *m_search_recall, *m_vacuum_moved, *m_vacuum_bytes;
};

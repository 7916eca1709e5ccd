/* side.c — work beside the caller's, on the pool; and a sink whose bytes are written there.
 *
 * I1  What the pool has not begun is done by who waits for it: a pool that never gets to it costs
 *     time, and no waiting is for something that has not begun.
 * I2  The pool may come to a job when its owner is gone: it then finds it claimed, and touches
 *     nothing of the owner's.
 */
#include "base/mem.h"
#include "base/sync.h"
#include "snapshot/snapshot_priv.h"
#include <string.h>

#define WAIT_MS 100 /* between two reports of who waits */

/* --- A job --- */

enum side_state { SIDE_WAITING, SIDE_RUNNING, SIDE_DONE };

struct ak_snapshot_side {
    struct ak_mutex lock; /* over state and refs */
    struct ak_cond changed;
    enum side_state state;
    int refs; /* the owner, and the pool while it holds the job */
    void (*fn)(void *ctx);
    void *ctx;
};

static bool claim(struct ak_snapshot_side *side)
{
    ak_mutex_lock(&side->lock);
    bool is_ours = side->state == SIDE_WAITING;
    side->state = is_ours ? SIDE_RUNNING : side->state;
    ak_mutex_unlock(&side->lock);
    return is_ours;
}

static void run(struct ak_snapshot_side *side)
{
    side->fn(side->ctx);
    ak_mutex_lock(&side->lock);
    side->state = SIDE_DONE;
    ak_cond_broadcast(&side->changed);
    ak_mutex_unlock(&side->lock);
}

static void unref(struct ak_snapshot_side *side)
{
    ak_mutex_lock(&side->lock);
    bool is_last = --side->refs == 0;
    ak_mutex_unlock(&side->lock);
    if (is_last) {
        ak_cond_release(&side->changed);
        ak_mutex_release(&side->lock);
        ak_free(side);
    }
}

bool ak_snapshot_side_cancel(struct ak_snapshot_side *side)
{
    bool is_ours = claim(side);
    if (is_ours) {
        unref(side);
    }
    return is_ours;
}

static void run_on_pool(void *arg)
{
    struct ak_snapshot_side *side = arg;
    if (claim(side)) {
        run(side);
    }
    unref(side);
}

struct ak_snapshot_side *ak_snapshot_side_start(struct ak_pool *pool, void (*fn)(void *ctx),
                                                void *ctx)
{
    struct ak_snapshot_side *side = ak_zalloc(sizeof *side);
    ak_mutex_init(&side->lock, AK_RANK_LEAF, "snapshot side");
    ak_cond_init(&side->changed);
    side->fn = fn;
    side->ctx = ctx;
    side->refs = pool ? 2 : 1;
    if (pool && ak_pool_submit(pool, run_on_pool, side, NULL) != AK_OK) {
        side->refs = 1; /* no room: it is done by who waits */
    }
    return side;
}

void ak_snapshot_side_finish(struct ak_snapshot_side *side, void (*tell)(void *ctx), void *ctx)
{
    if (!side) {
        return;
    }
    if (claim(side)) {
        run(side);
    }
    ak_mutex_lock(&side->lock);
    while (side->state != SIDE_DONE) {
        (void)ak_cond_wait_ms(&side->changed, &side->lock, WAIT_MS);
        if (tell) {
            ak_mutex_unlock(&side->lock);
            tell(ctx);
            ak_mutex_lock(&side->lock);
        }
    }
    ak_mutex_unlock(&side->lock);
    unref(side);
}

/* --- A relay: a ring of pieces between two threads --- */

#define PIECES 4u
#define PIECE_BYTES ((size_t)1 << 20)

struct piece {
    char *bytes; /* PIECE_BYTES */
    size_t len;
};

struct ak_snapshot_relay {
    struct ak_snapshot_sink sink;
    struct ak_snapshot_side *side; /* NULL: the maker writes by itself */
    struct ak_mutex lock;          /* all below, but the bytes of pieces */
    struct ak_cond moved;
    struct piece pieces[PIECES];
    size_t filled; /* pieces handed over so far */
    size_t taken;  /* of them written, or given up */
    bool is_over;  /* no more come */
    enum ak_rc rc; /* the first failure */
    struct ak_err err;
};

/* The other thread: piece by piece, until no more come. */
static void write_pieces(void *ctx)
{
    struct ak_snapshot_relay *relay = ctx;
    ak_mutex_lock(&relay->lock);
    for (;;) {
        while (relay->taken == relay->filled && !relay->is_over) {
            ak_cond_wait(&relay->moved, &relay->lock);
        }
        if (relay->taken == relay->filled) {
            break;
        }
        struct piece *piece = &relay->pieces[relay->taken % PIECES];
        enum ak_rc rc = relay->rc;
        struct ak_err err = {0};
        if (rc == AK_OK) {
            ak_mutex_unlock(&relay->lock);
            rc = relay->sink.write(relay->sink.ctx, piece->bytes, piece->len, &err);
            ak_mutex_lock(&relay->lock);
        }
        if (rc != AK_OK && relay->rc == AK_OK) {
            relay->rc = rc;
            relay->err = err;
        }
        piece->len = 0;
        relay->taken++;
        ak_cond_broadcast(&relay->moved);
    }
    ak_mutex_unlock(&relay->lock);
}

struct ak_snapshot_relay *ak_snapshot_relay_open(struct ak_pool *pool,
                                                 const struct ak_snapshot_sink *sink)
{
    struct ak_snapshot_relay *relay = ak_zalloc(sizeof *relay);
    relay->sink = *sink;
    ak_mutex_init(&relay->lock, AK_RANK_LEAF, "snapshot relay");
    ak_cond_init(&relay->moved);
    bool has_memory = pool != NULL;
    for (size_t i = 0; i < PIECES && has_memory; i++) {
        relay->pieces[i].bytes = ak_try_alloc(PIECE_BYTES);
        has_memory = relay->pieces[i].bytes != NULL;
    }
    relay->side = has_memory ? ak_snapshot_side_start(pool, write_pieces, relay) : NULL;
    return relay;
}

static enum ak_rc failure(const struct ak_snapshot_relay *relay, struct ak_err *err)
{
    return relay->rc == AK_OK ? AK_OK : ak_fail(err, relay->rc, "%s", relay->err.text);
}

/* The other thread has not begun and the ring is full: what is in it is written here, and what
 * follows as well. */
static enum ak_rc take_back(struct ak_snapshot_relay *relay, struct ak_err *err)
{
    relay->side = NULL;
    relay->is_over = true;
    write_pieces(relay);
    return failure(relay, err);
}

/* Room in the ring, or the ring is given up. */
static enum ak_rc wait_for_room(struct ak_snapshot_relay *relay, struct ak_err *err)
{
    ak_mutex_lock(&relay->lock);
    bool is_full = relay->filled - relay->taken == PIECES;
    ak_mutex_unlock(&relay->lock);
    if (is_full && ak_snapshot_side_cancel(relay->side)) {
        return take_back(relay, err);
    }
    ak_mutex_lock(&relay->lock);
    while (relay->filled - relay->taken == PIECES) {
        ak_cond_wait(&relay->moved, &relay->lock);
    }
    enum ak_rc rc = failure(relay, err);
    ak_mutex_unlock(&relay->lock);
    return rc;
}

static void hand_over(struct ak_snapshot_relay *relay)
{
    ak_mutex_lock(&relay->lock);
    relay->filled++;
    ak_cond_broadcast(&relay->moved);
    ak_mutex_unlock(&relay->lock);
}

enum ak_rc ak_snapshot_relay_write(void *ctx, const void *p, size_t len, struct ak_err *err)
{
    struct ak_snapshot_relay *relay = ctx;
    const char *from = p;
    while (relay->side && len) {
        enum ak_rc rc = wait_for_room(relay, err);
        if (rc != AK_OK) {
            return rc;
        }
        if (!relay->side) {
            break;
        }
        struct piece *piece = &relay->pieces[relay->filled % PIECES]; /* ours until handed over */
        size_t n = PIECE_BYTES - piece->len;
        n = n < len ? n : len;
        memcpy(piece->bytes + piece->len, from, n);
        piece->len += n;
        from += n;
        len -= n;
        if (piece->len == PIECE_BYTES) {
            hand_over(relay);
        }
    }
    return len ? relay->sink.write(relay->sink.ctx, from, len, err) : AK_OK;
}

enum ak_rc ak_snapshot_relay_close(struct ak_snapshot_relay *relay, struct ak_err *err)
{
    if (relay->side) {
        ak_mutex_lock(&relay->lock);
        bool is_full = relay->filled - relay->taken == PIECES;
        relay->filled += !is_full && relay->pieces[relay->filled % PIECES].len > 0;
        relay->is_over = true;
        ak_cond_broadcast(&relay->moved);
        ak_mutex_unlock(&relay->lock);
        ak_snapshot_side_finish(relay->side, NULL, NULL);
    }
    enum ak_rc rc = failure(relay, err);
    for (size_t i = 0; i < PIECES; i++) {
        ak_free(relay->pieces[i].bytes);
    }
    ak_cond_release(&relay->moved);
    ak_mutex_release(&relay->lock);
    ak_free(relay);
    return rc;
}

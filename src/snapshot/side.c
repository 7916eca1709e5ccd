/* side.c — work beside the caller's, on the pool.
 *
 * I1  What the pool has not begun is done by who waits for it: a pool that never gets to it costs
 *     time, and no waiting is for something that has not begun.
 * I2  The pool may come to a job when its owner is gone: it then finds it claimed, and touches
 *     nothing of the owner's.
 */
#include "base/mem.h"
#include "base/sync.h"
#include "snapshot/snapshot_priv.h"

#define WAIT_MS 100 /* between two reports of who waits */

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

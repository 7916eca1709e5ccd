/* epoch.h — epoch-based reclamation (Fraser 2004): readers without locks, memory freed after them.
 *
 * A reader brackets its work with enter and leave; what a writer unlinks it hands to retire(), and
 * it is freed once every reader that could have seen it has left. An ak_epoch belongs to one open
 * database, so two databases in one process share nothing.
 *
 * Threads: enter, leave and retire from any. A thread may nest enters. Readers must not block for
 * long between enter and leave: they hold back every free.
 * Memory: 128 reader slots of one cache line; retired items wait in a list of their own.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

struct ak_epoch;

struct ak_epoch *ak_epoch_open(void);
/* Frees everything retired; no reader may be inside. NULL is fine. */
void ak_epoch_close(struct ak_epoch *epoch);
/* Returns the token to leave with. Never fails: waits (yielding) when all slots are taken. */
unsigned ak_epoch_enter(struct ak_epoch *epoch);
void ak_epoch_leave(struct ak_epoch *epoch, unsigned token);
/* Call fn(arg) once no present reader can hold what it frees: on this thread at a later retire or
 * collect, or at close. */
void ak_epoch_retire(struct ak_epoch *epoch, void (*fn)(void *arg), void *arg);
/* Free what can be freed now; returns how many items still wait. */
size_t ak_epoch_collect(struct ak_epoch *epoch);
/* Wait until every reader that is inside now has left. Not from within a reader. */
void ak_epoch_wait(struct ak_epoch *epoch);

/* recall.h — which ef gives which recall on an index: measured against exact search, not guessed.
 *
 * A run asks queries one by one, exactly and at every ef of a grid, for two numbers of results;
 * its curve then says what ef a wanted recall needs at any k. Recall is the share of returned rows
 * that are as near as the k-th true one (ties and rounding are no misses). The curve is cautious:
 * it counts on the mean less two standard errors, so that few queries make a larger ef, not a false
 * promise.
 *
 * Queries are the caller's: real ones if there are any. Without them ak_recall_invent makes some of
 * stored rows: a row moved by part of the difference of two others, which keeps to the shape of the
 * data and is about as hard as queries of another kind than the rows.
 *
 * Threads: a run belongs to one; curves are values. A step happens inside the epoch.
 */
#pragma once
#include "base/rand.h"
#include "index/index.h"

#define AK_RECALL_EFS 16u
#define AK_RECALL_KS 2u

struct ak_recall_curve { /* a section of images: docs/formats/akx.md */
    uint64_t rows;       /* live when it was measured; 0: it was not */
    uint32_t queries;
    uint32_t real; /* queries that users had asked */
    float mean[AK_RECALL_KS][AK_RECALL_EFS];
    float sure[AK_RECALL_KS][AK_RECALL_EFS];
};

struct ak_recall_run;

AK_MUST enum ak_rc ak_recall_begin(struct ak_index *index, struct ak_recall_run **run,
                                   struct ak_err *err);
void ak_recall_end(struct ak_recall_run *run); /* NULL is fine */
/* Ask one query f32[dimension]. An index without rows counts nothing. */
AK_MUST enum ak_rc ak_recall_ask(struct ak_recall_run *run, const float *query, bool is_real,
                                 struct ak_err *err);
/* vector[dimension] gets a query made of stored rows; false: there are none. Inside the epoch. */
bool ak_recall_invent(struct ak_index *index, struct ak_rand *rand, float *vector);
/* What was measured so far. */
void ak_recall_result(const struct ak_recall_run *run, struct ak_recall_curve *curve);

/* The least ef for `k` results of which the share `wanted` is right. 0: no ef of the grid gets
 * there, scan exactly. On a curve that was not measured: generous guesses. */
uint32_t ak_recall_ef(const struct ak_recall_curve *curve, uint32_t k, double wanted);
/* What `ef` gives at `k`; of a measured curve. */
double ak_recall_at(const struct ak_recall_curve *curve, uint32_t k, uint32_t ef);
/* Could a reader of bytes believe it? */
bool ak_recall_is_sound(const struct ak_recall_curve *curve);

/* advise.c — an advice as such: adding to it, its notes, and what became of the one before. */
#include "perf/advise.h"
#include "base/mem.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXTS_BYTES ((size_t)64 << 20)
#define NOTES_BYTES ((size_t)1 << 20)

void ak_advice_init(struct ak_advice *advice)
{
    memset(advice, 0, sizeof *advice);
    ak_arena_init(&advice->arena, TEXTS_BYTES);
    ak_buf_init(&advice->notes, NOTES_BYTES);
    ak_buf_init(&advice->text, 0);
}

void ak_advice_release(struct ak_advice *advice)
{
    ak_free(advice->list);
    advice->list = NULL;
    advice->count = advice->cap = 0;
    ak_arena_release(&advice->arena);
    ak_buf_release(&advice->notes);
    ak_buf_release(&advice->text);
}

void ak_advice_note(struct ak_advice *advice, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (len > 0) {
        ak_buf_add(&advice->notes, line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
        ak_buf_add_char(&advice->notes, '\n');
    }
}

/* Absent stays absent. */
static bool keep(struct ak_arena *arena, struct ak_str *text)
{
    if (text->p) {
        *text = ak_arena_str(arena, *text);
        return text->p;
    }
    return true;
}

static bool grow(struct ak_advice *advice)
{
    if (advice->count < advice->cap) {
        return true;
    }
    size_t cap = advice->cap ? advice->cap * 2 : 32;
    if (advice->count >= AK_PERF_RECOMMENDATIONS_MAX) {
        return false;
    }
    struct ak_perf_recommendation *list = ak_try_realloc(advice->list, cap * sizeof *list);
    if (list) {
        advice->list = list;
        advice->cap = cap;
    }
    return list;
}

void ak_advice_add(struct ak_advice *advice, const struct ak_perf_recommendation *one)
{
    struct ak_perf_recommendation kept = *one;
    kept.estimated_speedup = round(kept.estimated_speedup * 1e3) / 1e3;
    if (!grow(advice) || !keep(&advice->arena, &kept.table) || !keep(&advice->arena, &kept.index) ||
        !keep(&advice->arena, &kept.query_pattern) || !keep(&advice->arena, &kept.priority) ||
        !keep(&advice->arena, &kept.status) || !keep(&advice->arena, &kept.basis)) {
        ak_advice_note(advice, "a recommendation for '%.*s' was dropped: there are too many",
                       AK_STR_ARG(one->table));
        return;
    }
    advice->list[advice->count++] = kept;
}

/* --- The one before --- */

static struct ak_perf_recommendation *find(struct ak_advice *advice,
                                           const struct ak_perf_recommendation *one)
{
    for (size_t i = 0; i < advice->count; i++) {
        if (ak_str_eq(advice->list[i].table, one->table) &&
            ak_str_eq(advice->list[i].index, one->index)) {
            return &advice->list[i];
        }
    }
    return NULL;
}

size_t ak_advise_carry_over(struct ak_advice *advice, const struct ak_perf_report *before,
                            bool (*in_force)(void *ctx, const struct ak_perf_recommendation *one),
                            void *ctx)
{
    size_t applied = 0;
    for (size_t i = 0; i < advice->count; i++) {
        advice->list[i].status = AK_STR("proposed");
    }
    for (size_t i = 0; i < before->count; i++) {
        struct ak_perf_recommendation one = before->recommendations[i];
        struct ak_perf_recommendation *again = find(advice, &one);
        bool was_applied = ak_str_eq(one.status, AK_STR("applied"));
        if (again && ak_str_eq(one.status, AK_STR("dismissed"))) {
            again->status = AK_STR("dismissed");
        } else if (!again && in_force(ctx, &one)) {
            one.status = AK_STR("applied");
            ak_advice_add(advice, &one);
            applied += !was_applied;
        }
    }
    return applied;
}

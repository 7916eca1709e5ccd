/* catalog_tiers.c — where collections live, which rules are their own, and what covers them.
 *
 * Cover has its own statements: it changes with the snapshots of a collection (their jobs), all
 * else with what the engine does, and neither may write over the other.
 */
#include "catalog/catalog_priv.h"

static void bind_rule(sqlite3_stmt *stmt, int at, const struct ak_tier_overrides *rules,
                      enum ak_tier_rule rule, int64_t value)
{
    if (rules->set & (uint32_t)rule) {
        (void)sqlite3_bind_int64(stmt, at, value);
    } else {
        (void)sqlite3_bind_null(stmt, at);
    }
}

enum ak_rc ak_catalog_put_tier(struct ak_catalog *catalog, sqlite3_int64 row,
                               const struct ak_catalog_tier *tier, struct ak_err *err)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_TIER_PUT];
    const struct ak_tier_overrides *over = &tier->rules;
    (void)sqlite3_bind_int64(stmt, 1, row);
    bind_u64(stmt, 2, (uint64_t)tier->tier);
    bind_u64(stmt, 3, tier->pinned);
    bind_u64(stmt, 4, (uint64_t)tier->since_us);
    bind_u64(stmt, 5, (uint64_t)tier->last_access_us);
    bind_u64(stmt, 6, (uint64_t)tier->window_from_us);
    bind_u64(stmt, 7, tier->window_accesses);
    bind_rule(stmt, 8, over, AK_TIER_RULE_HOT_IDLE, over->rules.hot_idle_us);
    bind_rule(stmt, 9, over, AK_TIER_RULE_WARM_IDLE, over->rules.warm_idle_us);
    bind_rule(stmt, 10, over, AK_TIER_RULE_WINDOW, over->rules.window_us);
    bind_rule(stmt, 11, over, AK_TIER_RULE_PROMOTE_ACCESSES, over->rules.promote_accesses);
    bind_rule(stmt, 12, over, AK_TIER_RULE_STAY_COLD, over->rules.stay_cold_on_access);
    bind_rule(stmt, 13, over, AK_TIER_RULE_LOWEST, (int64_t)over->rules.lowest);
    int rc = ak_catalog_run(catalog, SQL_TIER_PUT);
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "record a tier", err);
}

enum ak_rc ak_catalog_put_cover(struct ak_catalog *catalog, sqlite3_int64 row,
                                const struct ak_catalog_tier *tier, struct ak_err *err)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_COVER_PUT];
    (void)sqlite3_bind_int64(stmt, 1, row);
    if (ak_uuid_is_nil(&tier->cover)) {
        (void)sqlite3_bind_null(stmt, 2);
    } else {
        bind_uuid(stmt, 2, &tier->cover);
    }
    bind_u64(stmt, 3, tier->cover_generation);
    int rc = ak_catalog_run(catalog, SQL_COVER_PUT);
    return rc == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, rc, "record a cover", err);
}

int ak_catalog_covered(struct ak_catalog *catalog, const struct ak_catalog_snapshot *snapshot)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_COVERED];
    bind_uuid(stmt, 1, &snapshot->collection);
    bind_uuid(stmt, 2, &snapshot->id);
    bind_u64(stmt, 3, snapshot->generation);
    bind_u64(stmt, 4, AK_TIER_COLD);
    return ak_catalog_run(catalog, SQL_COVERED);
}

int ak_catalog_uncovered(struct ak_catalog *catalog, const struct ak_uuid *collection,
                         const struct ak_uuid *snapshot)
{
    sqlite3_stmt *stmt = catalog->sql[SQL_UNCOVERED];
    bind_uuid(stmt, 1, collection);
    bind_uuid(stmt, 2, snapshot);
    bind_u64(stmt, 3, AK_TIER_COLD);
    return ak_catalog_run(catalog, SQL_UNCOVERED);
}

/* --- Changes --- */

struct tier_list {
    const struct ak_catalog_tier_change *changes;
    size_t count;
    const struct ak_uuid *job;
    uint32_t job_step;
};

static enum ak_rc put_one(struct ak_catalog *catalog, const struct ak_catalog_tier_change *change,
                          struct ak_err *err)
{
    sqlite3_int64 row = 0;
    enum ak_rc rc = ak_catalog_find_row(catalog, &change->id, &row, err);
    if (rc != AK_OK || row == 0) {
        return rc; /* deleted meanwhile: nothing to remember */
    }
    rc = ak_catalog_put_tier(catalog, row, &change->tier, err);
    if (rc == AK_OK && change->tier.tier == AK_TIER_COLD) {
        rc = ak_catalog_put_cover(catalog, row, &change->tier, err); /* it lives in this one */
    }
    if (rc == AK_OK && change->tier.tier == AK_TIER_COLD) {
        (void)sqlite3_bind_int64(catalog->sql[SQL_TINY_DELETE], 1, row);
        int code = ak_catalog_run(catalog, SQL_TINY_DELETE);
        rc = code == SQLITE_OK ? AK_OK : ak_catalog_fail(catalog, code, "let an image go", err);
    }
    return rc;
}

static enum ak_rc apply_tiers(struct ak_catalog *catalog, const void *arg, struct ak_err *err)
{
    const struct tier_list *list = arg;
    enum ak_rc rc = AK_OK;
    for (size_t i = 0; i < list->count && rc == AK_OK; i++) {
        rc = put_one(catalog, &list->changes[i], err);
    }
    if (rc == AK_OK && list->job) {
        rc = ak_catalog_job_step(catalog, list->job, list->job_step, err);
    }
    return rc;
}

enum ak_rc ak_catalog_tiers(struct ak_catalog *catalog,
                            const struct ak_catalog_tier_change *changes, size_t count,
                            const struct ak_uuid *job, uint32_t job_step, struct ak_err *err)
{
    struct tier_list list = {changes, count, job, job_step};
    struct catalog_change change = {.apply = apply_tiers, .arg = &list};
    return count ? ak_catalog_change(catalog, &change, err) : AK_OK;
}

/* --- Reading --- */

static int64_t rule_at(sqlite3_stmt *stmt, int at, enum ak_tier_rule rule, int64_t otherwise,
                       uint32_t *set)
{
    if (sqlite3_column_type(stmt, at) == SQLITE_NULL) {
        return otherwise;
    }
    *set |= (uint32_t)rule;
    return sqlite3_column_int64(stmt, at);
}

bool ak_catalog_read_tier(sqlite3_stmt *stmt, int at, struct ak_catalog_tier *tier)
{
    struct ak_tier_rules rules = ak_tier_rules_default();
    uint32_t set = 0;
    uint32_t where = column_u32(stmt, at);
    rules.hot_idle_us = rule_at(stmt, at + 6, AK_TIER_RULE_HOT_IDLE, rules.hot_idle_us, &set);
    rules.warm_idle_us = rule_at(stmt, at + 7, AK_TIER_RULE_WARM_IDLE, rules.warm_idle_us, &set);
    rules.window_us = rule_at(stmt, at + 8, AK_TIER_RULE_WINDOW, rules.window_us, &set);
    int64_t promote =
        rule_at(stmt, at + 9, AK_TIER_RULE_PROMOTE_ACCESSES, rules.promote_accesses, &set);
    rules.stay_cold_on_access = rule_at(stmt, at + 10, AK_TIER_RULE_STAY_COLD, 0, &set) != 0;
    int64_t lowest = rule_at(stmt, at + 11, AK_TIER_RULE_LOWEST, AK_TIER_COLD, &set);
    struct ak_catalog_tier read = {
        .tier = (enum ak_tier)where,
        .pinned = sqlite3_column_int(stmt, at + 1) != 0,
        .since_us = sqlite3_column_int64(stmt, at + 2),
        .last_access_us = sqlite3_column_int64(stmt, at + 3),
        .window_from_us = sqlite3_column_int64(stmt, at + 4),
        .window_accesses = column_u32(stmt, at + 5),
        .cover_generation = (uint64_t)sqlite3_column_int64(stmt, at + 13),
    };
    bool has_cover = sqlite3_column_type(stmt, at + 12) != SQLITE_NULL;
    if (where >= AK_TIER_COUNT || lowest < 0 || lowest >= AK_TIER_COUNT || promote < 0 ||
        promote > UINT32_MAX || (has_cover && !column_uuid(stmt, at + 12, &read.cover)) ||
        (where == AK_TIER_COLD && !has_cover)) {
        return false;
    }
    rules.promote_accesses = (uint32_t)promote;
    rules.lowest = (enum ak_tier)lowest;
    read.rules = (struct ak_tier_overrides){.set = set, .rules = rules};
    *tier = read;
    return ak_tier_rules_check(&rules, NULL) == AK_OK;
}

/* thrift_read.c — the compact protocol of Apache Thrift, as far as Parquet's structs need it.
 *
 * field   := delta<<4 | wire type, or 0<<4 | wire type, zigzag varint id; 0 ends the struct
 * number  := zigzag varint, at most 5 (i32) or 10 (i64) bytes · bool: in the wire type
 * binary  := varint length, bytes · list := count<<4 | wire type (15: varint count follows)
 *
 * I1 A count is at most the bytes left: every element takes one byte or more.
 * I2 Structs and lists nest at most AK_PARQUET_THRIFT_DEPTH_MAX deep, known or skipped.
 * I3 A field comes once and has its type. Unknown ids are skipped.
 */
#include "parquet/read_priv.h"
#include <string.h>

void ak_parquet_thrift_init(struct ak_parquet_thrift *in, const void *p, size_t len, uint64_t base)
{
    *in = (struct ak_parquet_thrift){
        .at = p, .begin = p, .end = (const uint8_t *)p + len, .base = base};
}

bool ak_parquet_thrift_failed(const struct ak_parquet_thrift *in)
{
    return in->failure.rc != AK_OK;
}

void ak_parquet_thrift_fail(struct ak_parquet_thrift *in, enum ak_rc rc, const char *fmt, ...)
{
    va_list ap;
    if (ak_parquet_thrift_failed(in)) {
        return;
    }
    va_start(ap, fmt);
    (void)ak_fail_v(&in->failure, rc, fmt, ap);
    va_end(ap);
    (void)ak_wrap(&in->failure, rc, "at byte %llu",
                  (unsigned long long)(in->base + (uint64_t)(in->at - in->begin)));
}

enum ak_rc ak_parquet_full(const struct ak_arena *arena, size_t size, struct ak_err *err)
{
    if (size > arena->max || arena->used > arena->max - size) {
        return ak_fail(err, AK_TOO_BIG,
                       "describing the file takes more than the %zu bytes that "
                       "it may (memory_max)",
                       arena->max);
    }
    return ak_fail(err, AK_NOMEM, "no memory for %zu bytes that describe the file", size);
}

void ak_parquet_thrift_full(struct ak_parquet_thrift *in, const struct ak_arena *arena, size_t size)
{
    if (!ak_parquet_thrift_failed(in)) {
        (void)ak_parquet_full(arena, size, &in->failure);
    }
}

static void fail_short(struct ak_parquet_thrift *in)
{
    if (!ak_parquet_thrift_failed(in)) {
        in->is_short = true;
    }
    ak_parquet_thrift_fail(in, AK_CORRUPT, "the bytes end in the middle of a value");
}

static uint8_t byte(struct ak_parquet_thrift *in)
{
    if (ak_parquet_thrift_failed(in)) {
        return 0;
    }
    if (in->at == in->end) {
        fail_short(in);
        return 0;
    }
    return *in->at++;
}

static uint64_t varint(struct ak_parquet_thrift *in, unsigned bits)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t b = byte(in);
        if (ak_parquet_thrift_failed(in)) {
            return 0;
        }
        if (shift + 7 > bits && shift < bits && (b & 127) >> (bits - shift) != 0) {
            break;
        }
        if (shift >= bits) {
            break;
        }
        value |= (b & 127) << shift;
        if (b < 128) {
            return value;
        }
    }
    ak_parquet_thrift_fail(in, AK_CORRUPT, "a number is larger than %u bits", bits);
    return 0;
}

static int64_t zigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static bool enter(struct ak_parquet_thrift *in)
{
    if (in->depth >= AK_PARQUET_THRIFT_DEPTH_MAX) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "structs nest deeper than %u",
                               AK_PARQUET_THRIFT_DEPTH_MAX);
        return false;
    }
    in->depth++;
    return !ak_parquet_thrift_failed(in);
}

void ak_parquet_thrift_begin(struct ak_parquet_thrift *in, struct ak_parquet_scope *scope,
                             const char *what)
{
    *scope = (struct ak_parquet_scope){.what = what};
    (void)enter(in);
}

bool ak_parquet_thrift_field(struct ak_parquet_thrift *in, struct ak_parquet_scope *scope)
{
    unsigned head = byte(in);
    if (ak_parquet_thrift_failed(in)) {
        return false;
    }
    if (head == AK_PARQUET_WIRE_STOP) {
        in->depth--;
        return false;
    }
    int32_t id = scope->last + (int32_t)(head >> 4);
    if (head >> 4 == 0) {
        id = (int32_t)zigzag(varint(in, 32));
    }
    scope->wire = head & 15;
    if (id < 0 || id > INT16_MAX || scope->wire == 0 || scope->wire > AK_PARQUET_WIRE_UUID) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "%s has a field %d of type %u", scope->what, id,
                               scope->wire);
        return false;
    }
    if (id < 64) {
        if (scope->seen >> id & 1) {
            ak_parquet_thrift_fail(in, AK_CORRUPT, "%s has field %d twice", scope->what, id);
            return false;
        }
        scope->seen |= (uint64_t)1 << id;
    }
    scope->last = id;
    scope->field = id;
    return !ak_parquet_thrift_failed(in);
}

void ak_parquet_thrift_need(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope,
                            uint64_t mask)
{
    uint64_t missing = mask & ~scope->seen;
    if (missing != 0) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "%s lacks its field %d", scope->what,
                               __builtin_ctzll(missing));
    }
}

void ak_parquet_thrift_expect(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope,
                              unsigned wire)
{
    if (scope->wire != wire) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "field %d of %s has type %u instead of %u",
                               scope->field, scope->what, scope->wire, wire);
    }
}

int32_t ak_parquet_thrift_i32_item(struct ak_parquet_thrift *in)
{
    return (int32_t)zigzag(varint(in, 32));
}

int64_t ak_parquet_thrift_i64_item(struct ak_parquet_thrift *in)
{
    return zigzag(varint(in, 64));
}

bool ak_parquet_thrift_bool_item(struct ak_parquet_thrift *in)
{
    unsigned value = byte(in); /* 1 is true; writers disagree whether false is 0 or 2 */
    if (value > 2) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "a truth value is %u", value);
    }
    return value == 1;
}

struct ak_str ak_parquet_thrift_bytes_item(struct ak_parquet_thrift *in)
{
    uint64_t len = varint(in, 32);
    if (len > (uint64_t)(in->end - in->at)) {
        fail_short(in);
    }
    if (ak_parquet_thrift_failed(in)) {
        return AK_STR_NONE;
    }
    struct ak_str s = {(const char *)in->at, (size_t)len};
    in->at += len;
    return s;
}

int32_t ak_parquet_thrift_i32(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope)
{
    ak_parquet_thrift_expect(in, scope, AK_PARQUET_WIRE_I32);
    return ak_parquet_thrift_i32_item(in);
}

int64_t ak_parquet_thrift_i64(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope)
{
    ak_parquet_thrift_expect(in, scope, AK_PARQUET_WIRE_I64);
    return ak_parquet_thrift_i64_item(in);
}

bool ak_parquet_thrift_bool(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope)
{
    if (scope->wire != AK_PARQUET_WIRE_TRUE) {
        ak_parquet_thrift_expect(in, scope, AK_PARQUET_WIRE_FALSE);
    }
    return scope->wire == AK_PARQUET_WIRE_TRUE;
}

struct ak_str ak_parquet_thrift_bytes(struct ak_parquet_thrift *in,
                                      const struct ak_parquet_scope *scope)
{
    ak_parquet_thrift_expect(in, scope, AK_PARQUET_WIRE_BINARY);
    return ak_parquet_thrift_bytes_item(in);
}

static uint32_t list_head(struct ak_parquet_thrift *in, unsigned *wire)
{
    unsigned head = byte(in);
    uint64_t count = head >> 4;
    if (count == 15) {
        count = varint(in, 32);
    }
    *wire = head & 15;
    if (!ak_parquet_thrift_failed(in) && count > (uint64_t)(in->end - in->at)) {
        in->is_short = true; /* of a page header that was fetched in part, or a forged count */
        ak_parquet_thrift_fail(in, AK_CORRUPT, "a list of %llu elements in %zu bytes",
                               (unsigned long long)count, (size_t)(in->end - in->at));
    }
    return ak_parquet_thrift_failed(in) ? 0 : (uint32_t)count;
}

uint32_t ak_parquet_thrift_list(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope,
                                unsigned wire)
{
    unsigned of = 0;
    ak_parquet_thrift_expect(in, scope, AK_PARQUET_WIRE_LIST);
    uint32_t count = list_head(in, &of);
    bool is_bool = wire == AK_PARQUET_WIRE_TRUE && of == AK_PARQUET_WIRE_FALSE;
    if (count > 0 && of != wire && !is_bool) {
        ak_parquet_thrift_fail(in, AK_CORRUPT, "field %d of %s is a list of type %u instead of %u",
                               scope->field, scope->what, of, wire);
        return 0;
    }
    return ak_parquet_thrift_failed(in) ? 0 : count;
}

static void skip_bytes(struct ak_parquet_thrift *in, uint64_t len)
{
    if (len > (uint64_t)(in->end - in->at)) {
        fail_short(in);
    } else if (!ak_parquet_thrift_failed(in)) {
        in->at += len;
    }
}

static void skip_value(struct ak_parquet_thrift *in, unsigned wire, bool is_item);

static void skip_items(struct ak_parquet_thrift *in, uint32_t count, unsigned wire)
{
    for (uint32_t i = 0; i < count && !ak_parquet_thrift_failed(in); i++) {
        skip_value(in, wire, true);
    }
}

static void skip_map(struct ak_parquet_thrift *in)
{
    uint64_t count = varint(in, 32);
    unsigned types = count > 0 ? byte(in) : 0;
    if (count > (uint64_t)(in->end - in->at)) {
        fail_short(in);
    }
    for (uint64_t i = 0; i < count && !ak_parquet_thrift_failed(in); i++) {
        skip_value(in, types >> 4, true);
        skip_value(in, types & 15, true);
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): enter() bounds the depth */
static void skip_value(struct ak_parquet_thrift *in, unsigned wire, bool is_item)
{
    struct ak_parquet_scope scope;
    unsigned of = 0;
    switch (wire) {
    case AK_PARQUET_WIRE_TRUE:
    case AK_PARQUET_WIRE_FALSE:
        skip_bytes(in, is_item ? 1 : 0);
        break;
    case AK_PARQUET_WIRE_BYTE:
        skip_bytes(in, 1);
        break;
    case AK_PARQUET_WIRE_I16:
    case AK_PARQUET_WIRE_I32:
    case AK_PARQUET_WIRE_I64:
        (void)varint(in, 64);
        break;
    case AK_PARQUET_WIRE_DOUBLE:
        skip_bytes(in, 8);
        break;
    case AK_PARQUET_WIRE_BINARY:
        skip_bytes(in, varint(in, 32));
        break;
    case AK_PARQUET_WIRE_LIST:
    case AK_PARQUET_WIRE_SET:
        if (enter(in)) {
            uint32_t count = list_head(in, &of);
            skip_items(in, count, of);
            in->depth--;
        }
        break;
    case AK_PARQUET_WIRE_MAP:
        if (enter(in)) {
            skip_map(in);
            in->depth--;
        }
        break;
    case AK_PARQUET_WIRE_STRUCT:
        ak_parquet_thrift_begin(in, &scope, "a struct");
        while (ak_parquet_thrift_field(in, &scope)) {
            skip_value(in, scope.wire, false);
        }
        break;
    case AK_PARQUET_WIRE_UUID:
        skip_bytes(in, 16);
        break;
    default:
        ak_parquet_thrift_fail(in, AK_CORRUPT, "there is no type %u", wire);
    }
}

void ak_parquet_thrift_skip(struct ak_parquet_thrift *in, const struct ak_parquet_scope *scope)
{
    skip_value(in, scope->wire, false);
}

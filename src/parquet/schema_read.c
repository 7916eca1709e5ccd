/* schema_read.c — the flattened tree of SchemaElements, and its leaves.
 *
 * The elements stand in depth-first order, each with the number of its children. A list is
 *   <column> (LIST) { repeated group list { <element> } }       three levels, the standard form
 *   <column> (LIST) { repeated <element> }                      two levels, older writers
 *   repeated <element>                                          no annotation at all
 * (LogicalTypes.md, "Lists"). A LIST group of another shape is refused.
 */
#include "parquet/read_priv.h"
#include <stdlib.h>
#include <string.h>

#define HAS(element, id) ((element)->has >> (id)&1)
enum { TYPE = 1, TYPE_LENGTH, REPETITION, NAME, CHILDREN, CONVERTED, SCALE, PRECISION };

static enum ak_parquet_unit read_unit(struct ak_parquet_thrift *in,
                                      const struct ak_parquet_scope *outer)
{
    struct ak_parquet_scope scope;
    enum ak_parquet_unit unit = AK_PARQUET_MILLIS;
    ak_parquet_thrift_expect(in, outer, AK_PARQUET_WIRE_STRUCT);
    ak_parquet_thrift_begin(in, &scope, "TimeUnit");
    while (ak_parquet_thrift_field(in, &scope)) {
        if (scope.field >= 1 && scope.field <= 3) {
            unit = (enum ak_parquet_unit)(scope.field - 1);
        }
        ak_parquet_thrift_skip(in, &scope);
    }
    return unit;
}

/* The struct of one member: DecimalType, TimeType, TimestampType, IntType; others are empty. */
static void read_logical_member(struct ak_parquet_thrift *in, int32_t member,
                                struct ak_parquet_meaning *meaning)
{
    struct ak_parquet_scope scope;
    bool is_time = member == AK_PARQUET_LOGICAL_TIME || member == AK_PARQUET_LOGICAL_TIMESTAMP;
    ak_parquet_thrift_begin(in, &scope, "LogicalType");
    while (ak_parquet_thrift_field(in, &scope)) {
        if (member == AK_PARQUET_LOGICAL_DECIMAL && scope.field == 1) {
            meaning->scale = ak_parquet_thrift_i32(in, &scope);
        } else if (member == AK_PARQUET_LOGICAL_DECIMAL && scope.field == 2) {
            meaning->precision = ak_parquet_thrift_i32(in, &scope);
        } else if (is_time && scope.field == 1) {
            meaning->is_utc = ak_parquet_thrift_bool(in, &scope);
        } else if (is_time && scope.field == 2) {
            meaning->unit = read_unit(in, &scope);
        } else if (member == AK_PARQUET_LOGICAL_INTEGER && scope.field == 1) {
            ak_parquet_thrift_expect(in, &scope, AK_PARQUET_WIRE_BYTE);
            meaning->bits = in->at < in->end ? *in->at : 0;
            ak_parquet_thrift_skip(in, &scope);
        } else if (member == AK_PARQUET_LOGICAL_INTEGER && scope.field == 2) {
            meaning->is_signed = ak_parquet_thrift_bool(in, &scope);
        } else {
            ak_parquet_thrift_skip(in, &scope);
        }
    }
}

static void read_logical(struct ak_parquet_thrift *in, struct ak_parquet_element *element)
{
    struct ak_parquet_scope scope;
    ak_parquet_thrift_begin(in, &scope, "LogicalType");
    while (ak_parquet_thrift_field(in, &scope)) {
        if (scope.wire == AK_PARQUET_WIRE_STRUCT) {
            element->logical = scope.field;
            read_logical_member(in, scope.field, &element->meaning);
        } else {
            ak_parquet_thrift_skip(in, &scope);
        }
    }
}

void ak_parquet_element_read(struct ak_parquet_thrift *in, struct ak_arena *arena,
                             struct ak_parquet_element *element)
{
    struct ak_parquet_scope scope;
    struct ak_str name;
    *element = (struct ak_parquet_element){.logical = 0};
    ak_parquet_thrift_begin(in, &scope, "SchemaElement");
    while (ak_parquet_thrift_field(in, &scope)) {
        switch (scope.field) {
        case TYPE:
            element->type = ak_parquet_thrift_i32(in, &scope);
            break;
        case TYPE_LENGTH:
            element->type_length = ak_parquet_thrift_i32(in, &scope);
            break;
        case REPETITION:
            element->repetition = ak_parquet_thrift_i32(in, &scope);
            break;
        case NAME:
            name = ak_parquet_thrift_bytes(in, &scope);
            element->name = ak_arena_str(arena, name);
            if (!element->name.p) {
                ak_parquet_thrift_full(in, arena, name.len + 1);
            }
            break;
        case CHILDREN:
            element->children = (uint32_t)ak_parquet_thrift_i32(in, &scope);
            break;
        case CONVERTED:
            element->converted = ak_parquet_thrift_i32(in, &scope);
            break;
        case SCALE:
            element->scale = ak_parquet_thrift_i32(in, &scope);
            break;
        case PRECISION:
            element->precision = ak_parquet_thrift_i32(in, &scope);
            break;
        case 10:
            ak_parquet_thrift_expect(in, &scope, AK_PARQUET_WIRE_STRUCT);
            read_logical(in, element);
            break;
        default:
            ak_parquet_thrift_skip(in, &scope);
        }
    }
    element->has = scope.seen;
    ak_parquet_thrift_need(in, &scope, 1u << NAME);
}

/* --- What values mean --- */

static void from_converted(const struct ak_parquet_element *element,
                           struct ak_parquet_meaning *meaning)
{
    static const unsigned char simple[] = {
        [AK_PARQUET_CONVERTED_UTF8] = AK_PARQUET_STRING,
        [AK_PARQUET_CONVERTED_ENUM] = AK_PARQUET_ENUM,
        [AK_PARQUET_CONVERTED_DECIMAL] = AK_PARQUET_DECIMAL,
        [AK_PARQUET_CONVERTED_DATE] = AK_PARQUET_DATE,
        [AK_PARQUET_CONVERTED_TIME_MILLIS] = AK_PARQUET_TIME,
        [AK_PARQUET_CONVERTED_TIME_MICROS] = AK_PARQUET_TIME,
        [AK_PARQUET_CONVERTED_TIMESTAMP_MILLIS] = AK_PARQUET_TIMESTAMP,
        [AK_PARQUET_CONVERTED_TIMESTAMP_MICROS] = AK_PARQUET_TIMESTAMP,
        [AK_PARQUET_CONVERTED_JSON] = AK_PARQUET_JSON,
        [AK_PARQUET_CONVERTED_BSON] = AK_PARQUET_BSON,
        [AK_PARQUET_CONVERTED_INTERVAL] = AK_PARQUET_INTERVAL,
    };
    int32_t c = element->converted;
    if (c < 0 || c > AK_PARQUET_CONVERTED_INTERVAL) {
        return;
    }
    meaning->annotation = (enum ak_parquet_annotation)simple[c];
    meaning->scale = element->scale;
    meaning->precision = element->precision;
    meaning->is_utc = meaning->annotation == AK_PARQUET_TIME ||
                      meaning->annotation == AK_PARQUET_TIMESTAMP; /* as the specification reads */
    if (c == AK_PARQUET_CONVERTED_TIME_MICROS || c == AK_PARQUET_CONVERTED_TIMESTAMP_MICROS) {
        meaning->unit = AK_PARQUET_MICROS;
    }
    if (c >= AK_PARQUET_CONVERTED_UINT_8 && c < AK_PARQUET_CONVERTED_JSON) {
        meaning->annotation = AK_PARQUET_INTEGER;
        meaning->is_signed = c >= AK_PARQUET_CONVERTED_INT_8;
        meaning->bits = 8 << ((c - AK_PARQUET_CONVERTED_UINT_8) & 3);
    }
}

static enum ak_parquet_annotation from_logical(int32_t member)
{
    switch (member) {
    case AK_PARQUET_LOGICAL_STRING:
        return AK_PARQUET_STRING;
    case AK_PARQUET_LOGICAL_ENUM:
        return AK_PARQUET_ENUM;
    case AK_PARQUET_LOGICAL_DECIMAL:
        return AK_PARQUET_DECIMAL;
    case AK_PARQUET_LOGICAL_DATE:
        return AK_PARQUET_DATE;
    case AK_PARQUET_LOGICAL_TIME:
        return AK_PARQUET_TIME;
    case AK_PARQUET_LOGICAL_TIMESTAMP:
        return AK_PARQUET_TIMESTAMP;
    case AK_PARQUET_LOGICAL_INTEGER:
        return AK_PARQUET_INTEGER;
    case AK_PARQUET_LOGICAL_UNKNOWN:
        return AK_PARQUET_NULL;
    case AK_PARQUET_LOGICAL_JSON:
        return AK_PARQUET_JSON;
    case AK_PARQUET_LOGICAL_BSON:
        return AK_PARQUET_BSON;
    case AK_PARQUET_LOGICAL_UUID:
        return AK_PARQUET_UUID;
    case AK_PARQUET_LOGICAL_FLOAT16:
        return AK_PARQUET_FLOAT16;
    default: /* one that this version does not know: the physical type says enough */
        return AK_PARQUET_PLAIN_VALUE;
    }
}

/* Can values of this type mean that? */
static bool fits(const struct ak_parquet_leaf *leaf)
{
    const struct ak_parquet_meaning *m = &leaf->meaning;
    switch (m->annotation) {
    case AK_PARQUET_PLAIN_VALUE:
    case AK_PARQUET_NULL:
        return true;
    case AK_PARQUET_STRING:
    case AK_PARQUET_ENUM:
    case AK_PARQUET_JSON:
    case AK_PARQUET_BSON:
        return leaf->type == AK_PARQUET_BYTE_ARRAY;
    case AK_PARQUET_UUID:
        return leaf->type == AK_PARQUET_FIXED && leaf->fixed_len == 16;
    case AK_PARQUET_FLOAT16:
        return leaf->type == AK_PARQUET_FIXED && leaf->fixed_len == 2;
    case AK_PARQUET_INTERVAL:
        return leaf->type == AK_PARQUET_FIXED && leaf->fixed_len == 12;
    case AK_PARQUET_DECIMAL:
        return m->precision > 0 && m->scale >= 0 && m->scale <= m->precision &&
               leaf->type != AK_PARQUET_BOOLEAN && leaf->type != AK_PARQUET_INT96 &&
               leaf->type != AK_PARQUET_FLOAT && leaf->type != AK_PARQUET_DOUBLE;
    case AK_PARQUET_DATE:
        return leaf->type == AK_PARQUET_INT32;
    case AK_PARQUET_TIME:
        return leaf->type == (m->unit == AK_PARQUET_MILLIS ? AK_PARQUET_INT32 : AK_PARQUET_INT64);
    case AK_PARQUET_TIMESTAMP:
        return leaf->type == AK_PARQUET_INT64;
    case AK_PARQUET_INTEGER:
        return (m->bits == 64 && leaf->type == AK_PARQUET_INT64) ||
               ((m->bits == 8 || m->bits == 16 || m->bits == 32) && leaf->type == AK_PARQUET_INT32);
    }
    return false;
}

static enum ak_rc leaf_type(const struct ak_parquet_element *element, struct ak_parquet_leaf *leaf,
                            struct ak_err *err)
{
    if (element->type < 0 || element->type > AK_PARQUET_FIXED) {
        return ak_fail(err, AK_UNSUPPORTED, "column '%.*s' has the unknown physical type %d",
                       AK_STR_ARG(leaf->path), element->type);
    }
    leaf->type = (enum ak_parquet_type)element->type;
    leaf->fixed_len = leaf->type == AK_PARQUET_INT96 ? 12 : 0;
    if (leaf->type == AK_PARQUET_FIXED) {
        if (element->type_length < 1 || (uint32_t)element->type_length > AK_PARQUET_FIXED_MAX) {
            return ak_fail(err, AK_CORRUPT, "values of column '%.*s' are %d bytes long",
                           AK_STR_ARG(leaf->path), element->type_length);
        }
        leaf->fixed_len = (uint32_t)element->type_length;
    }
    if (HAS(element, CONVERTED)) {
        from_converted(element, &leaf->meaning);
    }
    if (element->logical != 0) {
        leaf->meaning = element->meaning;
        leaf->meaning.annotation = from_logical(element->logical);
    }
    if (!fits(leaf)) {
        if (leaf->meaning.annotation == AK_PARQUET_UUID ||
            leaf->meaning.annotation == AK_PARQUET_FLOAT16) {
            return ak_fail(err, AK_CORRUPT, "column '%.*s' is annotated %s but not %d bytes wide",
                           AK_STR_ARG(leaf->path),
                           ak_parquet_annotation_name(leaf->meaning.annotation),
                           leaf->meaning.annotation == AK_PARQUET_UUID ? 16 : 2);
        }
        leaf->meaning = (struct ak_parquet_meaning){.annotation = AK_PARQUET_PLAIN_VALUE};
    }
    return AK_OK;
}

/* --- The tree --- */

struct walk {
    const struct ak_parquet_element *elements;
    size_t count;
    size_t at; /* next element */
    struct ak_arena *arena;
    struct ak_parquet_leaf *leaves;
    size_t leaf_count;
    struct ak_err *err;
};

struct place { /* of a node: what its parents make of it */
    struct ak_str path;
    struct ak_str column;
    unsigned depth;
    uint8_t def, rep;
    uint8_t list_def[AK_PARQUET_DEPTH_MAX + 1];
    bool is_list; /* of the column as far as it is known */
};

static bool is_list_group(const struct ak_parquet_element *element)
{
    return element->children > 0 &&
           (element->logical == AK_PARQUET_LOGICAL_LIST ||
            (HAS(element, CONVERTED) && element->converted == AK_PARQUET_CONVERTED_LIST));
}

static int compare_names(const void *a, const void *b)
{
    return ak_str_cmp(*(const struct ak_str *)a, *(const struct ak_str *)b);
}

/* The children of the group at `at - 1` have different names. They are found by walking over
 * their subtrees, whose sums were proved before. */
static enum ak_rc check_siblings(struct walk *walk, uint32_t children)
{
    struct ak_str *names = ak_try_alloc(children * sizeof *names);
    if (!names) {
        return ak_fail(walk->err, AK_NOMEM, "no memory for %u column names", children);
    }
    size_t at = walk->at;
    for (uint32_t i = 0; i < children; i++) {
        names[i] = walk->elements[at].name;
        for (uint64_t left = 1; left > 0; left--, at++) {
            left += walk->elements[at].children;
        }
    }
    qsort(names, children, sizeof *names, compare_names);
    enum ak_rc rc = AK_OK;
    for (uint32_t i = 1; i < children && rc == AK_OK; i++) {
        if (ak_str_eq(names[i - 1], names[i])) {
            rc = ak_fail(walk->err, AK_CORRUPT, "two columns of one group are named '%.*s'",
                         AK_STR_ARG(names[i]));
        }
    }
    ak_free(names);
    return rc;
}

static enum ak_rc enter_node(struct walk *walk, const struct ak_parquet_element *element,
                             const struct place *parent, struct place *here)
{
    *here = *parent;
    here->depth++;
    if (here->depth > AK_PARQUET_DEPTH_MAX) {
        return ak_fail(walk->err, AK_CORRUPT, "columns nest deeper than %d", AK_PARQUET_DEPTH_MAX);
    }
    if (!ak_utf8_is_valid(element->name)) {
        return ak_fail(walk->err, AK_CORRUPT, "a column name below '%.*s' is not UTF-8",
                       AK_STR_ARG(parent->path));
    }
    if (!HAS(element, REPETITION) || element->repetition < 0 ||
        element->repetition > AK_PARQUET_REPEATED) {
        return ak_fail(walk->err, AK_CORRUPT,
                       "column '%.*s' is not said to be required, optional "
                       "or repeated",
                       AK_STR_ARG(element->name));
    }
    if (parent->depth == 0) {
        here->path = here->column = element->name;
    } else {
        size_t len = parent->path.len + 1 + element->name.len;
        char *path = ak_arena_alloc(walk->arena, len);
        if (!path) {
            return ak_parquet_full(walk->arena, len, walk->err);
        }
        memcpy(path, parent->path.p, parent->path.len);
        path[parent->path.len] = '.';
        memcpy(path + parent->path.len + 1, element->name.p, element->name.len);
        here->path = (struct ak_str){path, len};
    }
    here->def = (uint8_t)(here->def + (element->repetition != AK_PARQUET_REQUIRED));
    if (element->repetition == AK_PARQUET_REPEATED) {
        here->rep++;
        here->list_def[here->rep] = here->def;
    }
    return AK_OK;
}

/* Is the leaf at `here` the element of a list that its column is? `chain` of its parents. */
static bool is_single_list(const struct ak_parquet_element *column,
                           const struct ak_parquet_element *middle,
                           const struct ak_parquet_element *leaf, unsigned depth)
{
    if (depth == 1) {
        return leaf->repetition == AK_PARQUET_REPEATED;
    }
    if (!is_list_group(column) || column->repetition == AK_PARQUET_REPEATED) {
        return false;
    }
    if (depth == 2) {
        return leaf->repetition == AK_PARQUET_REPEATED;
    }
    return depth == 3 && middle->children == 1 && middle->repetition == AK_PARQUET_REPEATED &&
           leaf->repetition != AK_PARQUET_REPEATED;
}

static enum ak_rc add_leaf(struct walk *walk, const struct ak_parquet_element *chain[],
                           const struct place *here)
{
    const struct ak_parquet_element *element = chain[here->depth];
    if (!HAS(element, TYPE)) {
        return ak_fail(walk->err, AK_CORRUPT, "column '%.*s' has neither a type nor children",
                       AK_STR_ARG(here->path));
    }
    struct ak_parquet_leaf *leaf = &walk->leaves[walk->leaf_count++];
    *leaf = (struct ak_parquet_leaf){
        .path = here->path,
        .column = here->column,
        .max_def = here->def,
        .max_rep = here->rep,
        .is_optional = element->repetition == AK_PARQUET_OPTIONAL,
        .is_list = is_single_list(chain[1], chain[here->depth > 1 ? 2 : 1], element, here->depth),
    };
    memcpy(leaf->list_def, here->list_def, sizeof leaf->list_def);
    return leaf_type(element, leaf, walk->err);
}

static enum ak_rc check_group(struct walk *walk, const struct ak_parquet_element *element,
                              const struct place *here)
{
    if (is_list_group(element) &&
        (element->children != 1 || walk->elements[walk->at].repetition != AK_PARQUET_REPEATED)) {
        return ak_fail(walk->err, AK_CORRUPT,
                       "the list '%.*s' must have one child, which is repeated",
                       AK_STR_ARG(here->path));
    }
    return check_siblings(walk, element->children);
}

/* The whole tree, without recursion: open groups on a stack of bounded depth. */
static enum ak_rc walk_tree(struct walk *walk)
{
    const struct ak_parquet_element *chain[AK_PARQUET_DEPTH_MAX + 1];
    struct place places[AK_PARQUET_DEPTH_MAX + 1];
    uint32_t left[AK_PARQUET_DEPTH_MAX + 1];
    unsigned depth = 0;
    memset(&places[0], 0, sizeof places[0]);
    places[0].path = AK_STR("");
    chain[0] = &walk->elements[0];
    left[0] = walk->elements[0].children;
    walk->at = 1;
    enum ak_rc rc = check_siblings(walk, left[0]);
    while (rc == AK_OK && !(depth == 0 && left[0] == 0)) {
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        const struct ak_parquet_element *element = &walk->elements[walk->at++];
        struct place here;
        rc = enter_node(walk, element, &places[depth], &here);
        if (rc != AK_OK) {
            break;
        }
        chain[here.depth] = element;
        if (element->children == 0) {
            rc = add_leaf(walk, chain, &here);
        } else {
            rc = check_group(walk, element, &here);
            depth = here.depth;
            places[depth] = here;
            left[depth] = element->children;
        }
    }
    return rc;
}

enum ak_rc ak_parquet_schema_leaves(const struct ak_parquet_element *elements, size_t count,
                                    struct ak_arena *arena, struct ak_parquet_leaf **leaves,
                                    size_t *leaf_count, struct ak_err *err)
{
    uint64_t due = 1; /* elements that the ones before promise */
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (due == 0 || elements[i].children > count) {
            return ak_fail(err, AK_CORRUPT, "the schema's %zu elements are not one tree", count);
        }
        due += elements[i].children - (uint64_t)1;
        found += elements[i].children == 0;
    }
    if (count == 0 || due != 0 || elements[0].children == 0) {
        return ak_fail(err, AK_CORRUPT, "the schema's %zu elements are not one tree", count);
    }
    if (found > AK_PARQUET_LEAVES_MAX) {
        return ak_fail(err, AK_TOO_BIG, "%zu columns, at most %d are read", found,
                       AK_PARQUET_LEAVES_MAX);
    }
    struct walk walk = {.elements = elements, .count = count, .arena = arena, .err = err};
    walk.leaves = ak_arena_alloc(arena, found * sizeof *walk.leaves);
    if (!walk.leaves) {
        return ak_parquet_full(arena, found * sizeof *walk.leaves, err);
    }
    enum ak_rc rc = walk_tree(&walk);
    if (rc == AK_OK) {
        *leaves = walk.leaves;
        *leaf_count = walk.leaf_count;
    }
    return rc;
}

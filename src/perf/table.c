/* table.c — the four tables: their columns, in Parquet and for people. */
#include "base/json.h"
#include "perf/perf_priv.h"

#define AK_PERF_COLUMN(name, type, text)                                                           \
    {#name, AK_PERF_##type, AK_PERF_##type != AK_PERF_TIMESTAMP, text},
#define DATE_PARTITION                                                                             \
    {                                                                                              \
        "date_partition", AK_PERF_DATE, false, "the day of the timestamp, in UTC"                  \
    }
static const struct ak_perf_column_info query_columns[] = {AK_PERF_QUERY_COLUMNS(AK_PERF_COLUMN)
                                                               DATE_PARTITION};
static const struct ak_perf_column_info advisor_columns[] = {AK_PERF_ADVISOR_COLUMNS(AK_PERF_COLUMN)
                                                                 DATE_PARTITION};
static const struct ak_perf_column_info summary_columns[] = {AK_PERF_SUMMARY_COLUMNS(AK_PERF_COLUMN)
                                                                 DATE_PARTITION};
#undef AK_PERF_COLUMN

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct ak_perf_table_info tables[AK_PERF_TABLE_COUNT] = {
    [AK_PERF_TABLE_QUERIES] = {"query_perf", "query_perf_daily_YYYYMMDD.csv",
                               "the queries of a day", query_columns, COUNT(query_columns)},
    [AK_PERF_TABLE_WEEKS] = {"query_perf_weekly", "query_perf_weekly_YYYYWW.csv",
                             "the queries of a week, in a file named for its Monday", query_columns,
                             COUNT(query_columns)},
    [AK_PERF_TABLE_ADVISOR] = {"index_advisor", AK_PERF_REPORT_FILE, "what the advisor recommended",
                               advisor_columns, COUNT(advisor_columns)},
    [AK_PERF_TABLE_SUMMARY] = {"optimization_summary", AK_PERF_SUMMARY_FILE,
                               "what was done, and its metrics", summary_columns,
                               COUNT(summary_columns)},
};

static const struct {
    const char *parquet;
    enum ak_parquet_type type;
    struct ak_parquet_meaning meaning;
    enum ak_parquet_encoding encoding; /* where a dictionary does not pay */
    bool has_dictionary;
} types[AK_PERF_TYPE_COUNT] = {
    [AK_PERF_TIMESTAMP] = {"INT64, TIMESTAMP(MICROS, isAdjustedToUTC=false)",
                           AK_PARQUET_INT64,
                           {.annotation = AK_PARQUET_TIMESTAMP, .unit = AK_PARQUET_MICROS},
                           AK_PARQUET_DELTA_BINARY_PACKED,
                           false},
    [AK_PERF_VARCHAR] = {"BYTE_ARRAY, STRING",
                         AK_PARQUET_BYTE_ARRAY,
                         {.annotation = AK_PARQUET_STRING},
                         AK_PARQUET_PLAIN,
                         true},
    [AK_PERF_DOUBLE] = {"DOUBLE",
                        AK_PARQUET_DOUBLE,
                        {.annotation = AK_PARQUET_PLAIN_VALUE},
                        AK_PARQUET_BYTE_STREAM_SPLIT,
                        true},
    [AK_PERF_BIGINT] = {"INT64",
                        AK_PARQUET_INT64,
                        {.annotation = AK_PARQUET_PLAIN_VALUE},
                        AK_PARQUET_DELTA_BINARY_PACKED,
                        true},
    [AK_PERF_BOOLEAN] = {"BOOLEAN",
                         AK_PARQUET_BOOLEAN,
                         {.annotation = AK_PARQUET_PLAIN_VALUE},
                         AK_PARQUET_PLAIN,
                         false},
    [AK_PERF_DATE] = {"INT32, DATE",
                      AK_PARQUET_INT32,
                      {.annotation = AK_PARQUET_DATE},
                      AK_PARQUET_DELTA_BINARY_PACKED,
                      true},
    [AK_PERF_JSON] = {"BYTE_ARRAY, JSON",
                      AK_PARQUET_BYTE_ARRAY,
                      {.annotation = AK_PARQUET_JSON},
                      AK_PARQUET_PLAIN,
                      true},
};

const struct ak_perf_table_info *ak_perf_table_info(enum ak_perf_table table)
{
    return &tables[table];
}

const char *ak_perf_table_name(enum ak_perf_table table)
{
    return tables[table].name;
}

bool ak_perf_table_parse(struct ak_str name, enum ak_perf_table *table)
{
    for (int i = 0; i < AK_PERF_TABLE_COUNT; i++) {
        if (ak_str_eq(name, ak_str_of(tables[i].name))) {
            *table = (enum ak_perf_table)i;
            return true;
        }
    }
    return false;
}

void ak_perf_parquet_columns(const struct ak_perf_table_info *info,
                             struct ak_parquet_column columns[AK_PERF_COLUMNS_MAX])
{
    AK_ASSERT(info->column_count <= AK_PERF_COLUMNS_MAX);
    for (size_t i = 0; i < info->column_count; i++) {
        enum ak_perf_type type = info->columns[i].type;
        columns[i] = (struct ak_parquet_column){
            .name = info->columns[i].name,
            .type = types[type].type,
            .meaning = types[type].meaning,
            .is_optional = info->columns[i].is_optional,
            .encoding = types[type].encoding,
            .has_dictionary = types[type].has_dictionary,
        };
    }
}

static void put_member(struct ak_buf *out, const char *key, const char *text)
{
    ak_buf_add_fmt(out, "\"%s\": ", key);
    ak_json_put_string(out, ak_str_of(text));
}

static void put_column(struct ak_buf *out, const struct ak_perf_column_info *column, bool is_last)
{
    ak_buf_add_str(out, AK_STR("        {"));
    put_member(out, "name", column->name);
    ak_buf_add_str(out, AK_STR(", "));
    put_member(out, "type", ak_perf_type_name(column->type));
    ak_buf_add_str(out, AK_STR(", "));
    put_member(out, "parquet", types[column->type].parquet);
    ak_buf_add_fmt(out, ", \"nullable\": %s, ", column->is_optional ? "true" : "false");
    put_member(out, "description", column->text);
    ak_buf_add_fmt(out, "}%s\n", is_last ? "" : ",");
}

void ak_perf_put_schema(struct ak_buf *out)
{
    ak_buf_add_fmt(out, "{\n  \"schema_version\": \"%s\",\n  ", AK_PERF_SCHEMA_VERSION);
    put_member(out, "layout", "{table}/year=YYYY/month=MM/{table}_YYYYMMDD.parquet");
    ak_buf_add_str(out, AK_STR(",\n  \"tables\": {\n"));
    for (int t = 0; t < AK_PERF_TABLE_COUNT; t++) {
        const struct ak_perf_table_info *info = &tables[t];
        ak_buf_add_fmt(out, "    \"%s\": {\n      ", info->name);
        put_member(out, "source", info->source);
        ak_buf_add_str(out, AK_STR(",\n      "));
        put_member(out, "description", info->text);
        ak_buf_add_str(out, AK_STR(",\n      \"columns\": [\n"));
        for (size_t i = 0; i < info->column_count; i++) {
            put_column(out, &info->columns[i], i + 1 == info->column_count);
        }
        ak_buf_add_fmt(out, "      ]\n    }%s\n", t + 1 < AK_PERF_TABLE_COUNT ? "," : "");
    }
    ak_buf_add_str(out, AK_STR("  }\n}\n"));
}

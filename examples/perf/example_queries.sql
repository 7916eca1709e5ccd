-- DuckDB over the files of `akidb perf export`.
--
--   cd akidb-data/perf/parquet && duckdb -init example_queries.sql
--
-- or, from anywhere, SET file_search_path = '/var/lib/akidb/perf/parquet' before the statements below. Each view needs
-- one file of its table. Times are UTC. The columns are described in parquet_schema.json.

-- view: the queries, one row each, year and month come from the names of the folders
CREATE OR REPLACE VIEW query_performance AS
SELECT *
FROM read_parquet('query_perf/*/*/*.parquet', hive_partitioning = true,
                  hive_types = {'year': INTEGER, 'month': INTEGER});

-- view: what the advisor recommended, the newest report first
CREATE OR REPLACE VIEW index_recommendations AS
SELECT *
FROM read_parquet('index_advisor/*/*/*.parquet', hive_partitioning = true,
                  hive_types = {'year': INTEGER, 'month': INTEGER})
ORDER BY timestamp DESC, estimated_speedup DESC;

-- view: what was done, and its metrics
CREATE OR REPLACE VIEW optimization_events AS
SELECT *
FROM read_parquet('optimization_summary/*/*/*.parquet', hive_partitioning = true,
                  hive_types = {'year': INTEGER, 'month': INTEGER});

-- macro: average time by day, over the last so many days that there are
CREATE OR REPLACE MACRO avg_query_time(days) AS TABLE
SELECT date_partition,
       count(*) AS queries,
       avg(execution_time_ms) AS avg_ms,
       quantile_cont(execution_time_ms, 0.95) AS p95_ms
FROM query_performance
WHERE date_partition > (SELECT max(date_partition) FROM query_performance) - CAST(days AS INTEGER)
GROUP BY date_partition
ORDER BY date_partition;

-- macro: queries that took so long or longer, the slowest first
CREATE OR REPLACE MACRO slow_queries(threshold_ms) AS TABLE
SELECT timestamp, query_hash, query_type, table_name, index_used, execution_time_ms, rows_examined, cache_hit
FROM query_performance
WHERE execution_time_ms >= threshold_ms
ORDER BY execution_time_ms DESC, timestamp;

-- query: average time of the last seven days
FROM avg_query_time(7);

-- query: what takes a tenth of a second or longer
FROM slow_queries(100) LIMIT 20;

-- query: thirty days, by day: the aggregation that a report begins with
SELECT date_partition,
       count(*) AS queries,
       round(avg(execution_time_ms), 3) AS avg_ms,
       round(quantile_cont(execution_time_ms, 0.99), 3) AS p99_ms,
       round(100.0 * avg(CAST(cache_hit AS INTEGER)), 1) AS cache_hit_percent,
       sum(rows_examined) AS rows_examined
FROM query_performance
WHERE date_partition > (SELECT max(date_partition) FROM query_performance) - 30
GROUP BY date_partition
ORDER BY date_partition;

-- query: which shapes of query take the most time altogether
SELECT query_hash,
       any_value(query_type) AS query_type,
       any_value(table_name) AS table_name,
       count(*) AS queries,
       round(sum(execution_time_ms) / 1000, 3) AS seconds,
       round(avg(execution_time_ms), 3) AS avg_ms,
       round(max(execution_time_ms), 3) AS max_ms
FROM query_performance
GROUP BY query_hash
ORDER BY seconds DESC
LIMIT 20;

-- query: cache hits by table and day
SELECT table_name, date_partition, round(100.0 * avg(CAST(cache_hit AS INTEGER)), 1) AS cache_hit_percent, count(*) AS queries
FROM query_performance
GROUP BY table_name, date_partition
ORDER BY table_name, date_partition;

-- query: queries without an index, by how many rows they look at for each that they return
SELECT table_name, query_hash, count(*) AS queries,
       sum(rows_examined) AS rows_examined,
       sum(rows_examined) / greatest(sum(rows_returned), 1) AS examined_per_row
FROM query_performance
WHERE index_used IS NULL AND query_type = 'SELECT'
GROUP BY table_name, query_hash
ORDER BY rows_examined DESC
LIMIT 20;

-- query: the hours of the day
SELECT hour(timestamp) AS hour, count(*) AS queries, round(quantile_cont(execution_time_ms, 0.95), 3) AS p95_ms
FROM query_performance
GROUP BY hour
ORDER BY hour;

-- query: week over week
WITH weeks AS (
    SELECT date_trunc('week', date_partition) AS week, count(*) AS queries, avg(execution_time_ms) AS avg_ms
    FROM query_performance
    GROUP BY week
)
SELECT week, queries, round(avg_ms, 3) AS avg_ms,
       round(100.0 * (avg_ms / lag(avg_ms) OVER (ORDER BY week) - 1), 1) AS change_percent
FROM weeks
ORDER BY week;

-- query: only the files of one month are read
SELECT count(*) AS queries, min(timestamp) AS first, max(timestamp) AS last
FROM query_performance
WHERE year = 2025 AND month = 10;

-- query: recommendations that nobody has acted on, beside what their table costs
SELECT r.table_name, r.recommended_index, r.priority, r.estimated_speedup, q.seconds
FROM index_recommendations r
LEFT JOIN (SELECT table_name, sum(execution_time_ms) / 1000 AS seconds FROM query_performance GROUP BY table_name) q
       ON q.table_name = r.table_name
WHERE coalesce(r.status, 'proposed') = 'proposed'
ORDER BY r.estimated_speedup DESC;

-- query: a metric over time, and what the metadata says
SELECT timestamp, event_type, metric_name, metric_value, metadata ->> '$.index' AS index_name
FROM optimization_events
ORDER BY timestamp, event_type, metric_name;

-- query: what the files say of themselves
SELECT file_name, CAST(key AS VARCHAR) AS key, CAST(value AS VARCHAR) AS value
FROM parquet_kv_metadata('query_perf/*/*/*.parquet')
WHERE CAST(key AS VARCHAR) LIKE 'akidb.%'
ORDER BY file_name, key;

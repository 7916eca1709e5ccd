// Reads Parquet files with hyparquet and parquet-wasm (the Rust reader): node parquet_others.mjs < names, a line each.
// Beside NAME it writes NAME.hyparquet (JSON: values, vectors as the hex of their bytes, page index) and NAME.rust (an Arrow
// stream). Runs in the folder of the packages of tests/npm: test_parquet_write.py copies it there.
import fs from "node:fs";
import readline from "node:readline";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema, readColumnIndex, readOffsetIndex } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { readParquet } from "parquet-wasm";

// What JSON cannot say, said in another way: numbers as text, bytes as hex, times as milliseconds.
function plain(value) {
    if (value === undefined || value === null) return null;
    if (typeof value === "bigint") return value.toString();
    if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
    if (value instanceof Date) return String(value.getTime());
    if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex");
    return value;
}

function hexOfFloats(values) {
    const floats = Float32Array.from(values);
    return Buffer.from(floats.buffer).toString("hex");
}

async function pageIndex(file, metadata) {
    const elements = new Map();
    const walk = (node) => node.children.length ? node.children.forEach(walk) : elements.set(node.path.join("."), node.element);
    walk(parquetSchema(metadata));
    const reader = async (at, length) => ({
        view: new DataView(await file.slice(Number(at), Number(at) + length)), offset: 0,
    });
    const groups = [];
    for (const group of metadata.row_groups) {
        const columns = {};
        for (const chunk of group.columns) {
            const path = chunk.meta_data.path_in_schema.join(".");
            const offsets = readOffsetIndex(await reader(chunk.offset_index_offset, chunk.offset_index_length));
            const pages = { first_rows: offsets.page_locations.map((page) => Number(page.first_row_index)) };
            pages.bytes = offsets.page_locations.reduce((sum, page) => sum + page.compressed_page_size, 0);
            pages.chunk_bytes = Number(chunk.meta_data.total_compressed_size);
            pages.has_dictionary = chunk.meta_data.dictionary_page_offset !== undefined;
            if (chunk.column_index_offset !== undefined) {
                // Times as the numbers they are: hyparquet fails to make times of the empty bounds that pages of nulls have.
                const { type, logical_type: logical } = elements.get(path);
                const element = { type, logical_type: logical?.type === "INTEGER" ? logical : undefined };
                const index = readColumnIndex(await reader(chunk.column_index_offset, chunk.column_index_length), element);
                pages.order = index.boundary_order;
                pages.nulls = index.null_counts.map(Number);
                pages.null_pages = index.null_pages;
                pages.min = index.min_values.map(plain);
                pages.max = index.max_values.map(plain);
            }
            columns[path] = pages;
        }
        groups.push(columns);
    }
    return groups;
}

async function hyparquet(name) {
    const file = await asyncBufferFromFile(name);
    const metadata = await parquetMetadataAsync(file);
    const rows = await parquetReadObjects({ file, metadata, compressors, utf8: false });
    const columns = {};
    for (const { name: column } of metadata.schema.filter((element) => element.num_children === undefined && element.name !== "element")) {
        columns[column] = rows.map((row) => plain(row[column]));
    }
    columns.metadata = rows.map((row) => row.metadata ?? null);
    columns.vector = rows.map((row) => hexOfFloats(row.vector)).join("");
    const pairs = Object.fromEntries((metadata.key_value_metadata ?? []).map(({ key, value }) => [key, value]));
    return { columns, pairs, pages: await pageIndex(file, metadata) };
}

for await (const name of readline.createInterface({ input: process.stdin })) {
    fs.writeFileSync(`${name}.hyparquet`, JSON.stringify(await hyparquet(name)));
    fs.writeFileSync(`${name}.rust`, readParquet(fs.readFileSync(name)).intoIPCStream());
}

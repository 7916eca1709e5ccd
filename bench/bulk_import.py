#!/usr/bin/env python3
"""akidb import of 100,000 real embeddings with their metadata: .npy and NDJSON, server and folder."""

import json

from support import AKIDB, DATA, SHARED, Server, data_file, run_json, save, say, scratch

PASSES = 2


def documents():
    """NDJSON beside the .npy: line i is the document of row i."""
    out = DATA / "minilm.documents.ndjson"
    if not out.exists():
        with open(SHARED / "data/minilm/meta.ndjson", encoding="utf-8") as lines, open(
            out, "w", encoding="utf-8"
        ) as file:
            for line in lines:
                metadata = json.loads(line)
                file.write(
                    json.dumps({"external_id": metadata.pop("id"), "metadata": metadata}) + "\n"
                )
    return out


def main():
    source = SHARED / "data/minilm/base.f16.npy"
    if not source.exists():
        say(f"{source} is not there: this part is left out")
        return
    vectors = data_file("minilm.f32.npy", "slice", source, None, 0, 100_000)
    whole = data_file("minilm.ndjson", "ndjson", source, SHARED / "data/minilm/meta.ndjson", None)
    forms = {"npy": [vectors, "--documents", documents()], "ndjson": [whole]}
    best = {}
    for turn in range(PASSES):
        for form, files in forms.items():
            with scratch("import") as folder, Server(folder) as server:
                result = run_json(
                    AKIDB,
                    "import",
                    "--url",
                    server.url,
                    "-c",
                    "minilm",
                    "--create",
                    "--wait",
                    "--json",
                    *files,
                )
                with server.client() as client:
                    there = client.count("minilm")
                result["memory_mib"] = server.memory_mib()
            keep(best, f"{form}, server", result, there)
            with scratch("import") as folder:
                result = run_json(
                    AKIDB,
                    "import",
                    "--data",
                    folder,
                    "-c",
                    "minilm",
                    "--create",
                    "--wait",
                    "--json",
                    *files,
                )
                with Server(folder) as server, server.client() as client:
                    there = client.count("minilm")
            keep(best, f"{form}, folder", result, there)
    save(
        "import",
        {
            "rows": 100_000,
            "dimension": 384,
            "passes": PASSES,
            "ndjson_mib": whole.stat().st_size / 2**20,
            "imports": best,
        },
    )


def keep(best, name, result, there):
    if there != 100_000:
        raise SystemExit(f"{name}: 100,000 documents were imported, {there:,} are there")
    say(f"  {name:16} {result['seconds']:.2f} s")
    if name not in best or result["seconds"] < best[name]["seconds"]:
        best[name] = result


if __name__ == "__main__":
    main()

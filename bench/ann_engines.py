"""The peers of ann_run.py, each behind the same few calls. ann_worker.py runs one of them in a process of its own.

Every engine gets unit vectors and is asked for the nearest by inner product. Graphs have the size that their makers
recommend for it (M 16 or 32 links a row, 200 candidates); what an engine offers beside plain floats (its codes with its
own second look) is an engine of its own here. A knob is what trades speed for recall: ef, window, probes.
"""

import json
import os
import pathlib
import shutil

import numpy as np

EFS = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896, 1280]


class Engine:
    """package: what PyPI calls it. batch: takes many queries a call and knows threads; else a call a query, one thread."""

    package = ""
    venv = "ann"
    batch = True
    slow = False  # an embedded server's table: fewer queries are asked
    knobs = EFS
    settings = ""
    note = ""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)  # for files; exists

    def build(self, base, threads):
        raise NotImplementedError

    def search(self, query, k, knob, threads):
        """labels[queries, k]; too few become -1."""
        raise NotImplementedError

    def kernels(self):
        return ""

    # What some can do beside:
    # save() -> [paths]; load(base, threads): instead of build
    # filtered(query, k, knob, allowed): allowed bool[rows]; one thread
    # churn(base, rows, threads): these rows removed and put back


def padded(rows, k):
    out = np.full((len(rows), k), -1, np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row[:k]
    return out


class Exact(Engine):
    package = "numpy"
    slow = True
    knobs = [0]
    settings = "every row, f32, by matrix products of 200 queries"

    def build(self, base, threads):
        self.base = base

    def search(self, query, k, knob, threads):
        scores = query @ self.base.T
        near = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, near, 1), axis=1)
        return np.take_along_axis(near, order, 1)


class Hnswlib(Engine):
    package = "hnswlib"
    settings = "f32, M 16, ef_construction 200"

    def open(self, dimension):
        import hnswlib

        self.index = hnswlib.Index("ip", dimension)

    def build(self, base, threads):
        self.open(base.shape[1])
        self.index.init_index(
            len(base), M=16, ef_construction=200, random_seed=7, allow_replace_deleted=True
        )
        self.index.add_items(base, num_threads=threads)

    def search(self, query, k, knob, threads):
        self.index.set_ef(knob)
        return self.index.knn_query(query, k, num_threads=threads)[0]

    def save(self):
        self.index.save_index(str(self.folder / "hnswlib"))
        return [self.folder / "hnswlib"]

    def load(self, base, threads):
        self.open(base.shape[1])
        self.index.load_index(str(self.folder / "hnswlib"), allow_replace_deleted=True)

    def churn(self, base, rows, threads):
        for part in np.array_split(rows, 6):
            for row in part:
                self.index.mark_deleted(row)
            self.index.add_items(base[part], part, num_threads=threads, replace_deleted=True)


class FaissHnsw(Engine):
    package = "faiss-cpu"
    settings = "f32, M 16, efConstruction 200"

    def make(self, dimension):
        return self.faiss.IndexHNSWFlat(dimension, 16, self.faiss.METRIC_INNER_PRODUCT)

    def build(self, base, threads):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        self.index = self.make(base.shape[1])
        self.graph().hnsw.efConstruction = 200
        if not self.index.is_trained:
            self.index.train(base[:20000])
        self.index.add(base)

    def graph(self):
        return self.index

    def parameters(self, knob, sel=None):
        more = {"sel": sel} if sel is not None else {}
        return self.faiss.SearchParametersHNSW(efSearch=knob, **more)

    def search(self, query, k, knob, threads):
        self.faiss.omp_set_num_threads(threads)
        return self.index.search(query, k, params=self.parameters(knob))[1]

    def filtered(self, query, k, knob, allowed):
        self.faiss.omp_set_num_threads(1)
        sel = self.faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        return self.index.search(query, k, params=self.parameters(knob, sel))[1]

    def kernels(self):
        return self.faiss.get_compile_options().strip()

    def save(self):
        path = self.folder / type(self).__name__
        self.faiss.write_index(self.index, str(path))
        return [path]

    def load(self, base, threads):
        import faiss

        self.faiss = faiss
        self.index = faiss.read_index(str(self.folder / type(self).__name__))


class FaissSq8(FaissHnsw):
    settings = "SQ8 codes, M 16, efConstruction 200, floats of 2k rows"
    filtered = None

    def make(self, dimension):
        f = self.faiss
        self.codes = f.IndexHNSWSQ(
            dimension, f.ScalarQuantizer.QT_8bit, 16, f.METRIC_INNER_PRODUCT
        )
        self.floats = f.IndexFlat(dimension, f.METRIC_INNER_PRODUCT)
        return f.IndexRefine(self.codes, self.floats)

    def graph(self):
        return self.codes

    def parameters(self, knob, sel=None):
        self.inner = self.faiss.SearchParametersHNSW(efSearch=knob)
        return self.faiss.IndexRefineSearchParameters(k_factor=2, base_index_params=self.inner)


class Usearch(Engine):
    package = "usearch"
    kind = "f32"
    settings = "f32, connectivity 16, expansion_add 200"

    def open(self, dimension):
        from usearch.index import Index

        self.index = Index(
            ndim=dimension, metric="ip", dtype=self.kind, connectivity=16, expansion_add=200
        )

    def build(self, base, threads):
        self.open(base.shape[1])
        self.index.add(np.arange(len(base)), base, threads=threads)

    def search(self, query, k, knob, threads):
        self.index.expansion_search = knob
        keys = self.index.search(query, k, threads=threads).keys
        return np.asarray(keys).astype(np.int64).reshape(len(query), -1)

    def kernels(self):
        return str(self.index.hardware_acceleration)

    def save(self):
        path = self.folder / f"usearch-{self.kind}"
        self.index.save(str(path))
        return [path]

    def load(self, base, threads):
        self.open(base.shape[1])
        self.index.load(str(self.folder / f"usearch-{self.kind}"))


class UsearchF16(Usearch):
    kind = "f16"
    settings = "f16, connectivity 16, expansion_add 200"


class Svs(Engine):
    package = "scalable-vs"
    settings = "f32, R 32, window 200, alpha .95"

    def data(self, base):
        return base

    def build(self, base, threads):
        import svs

        self.svs = svs
        parameters = svs.VamanaBuildParameters(
            alpha=0.95, graph_max_degree=32, window_size=200
        )
        self.index = svs.Vamana.build(
            parameters, self.data(base), svs.DistanceType.MIP, num_threads=threads
        )

    def search(self, query, k, knob, threads):
        self.index.num_threads = threads
        self.index.search_window_size = max(knob, k)
        return self.index.search(query, k)[0]

    def kernels(self):
        return self.index.experimental_backend_string

    def paths(self):
        return [self.folder / f"{type(self).__name__}-{x}" for x in ("config", "graph", "data")]

    def save(self):
        for path in self.paths():
            shutil.rmtree(path, ignore_errors=True)
        self.index.save(*map(str, self.paths()))
        return self.paths()

    def stored(self, path):
        return self.svs.VectorDataLoader(str(path), self.svs.DataType.float32)

    def load(self, base, threads):
        import svs

        self.svs = svs
        config, graph, data = self.paths()
        self.index = svs.Vamana(
            str(config),
            svs.GraphLoader(str(graph)),
            self.stored(data),
            svs.DistanceType.MIP,
            num_threads=threads,
        )


class SvsLvq(Svs):
    settings = "LVQ 4 + 8 bits, R 32, window 200, alpha .95"

    def loader(self, base):
        """The codes are made from a file."""
        path = self.folder / "svs-base.fvecs"
        if not path.exists():
            self.svs.write_vecs(np.asarray(base), str(path))
        return self.svs.VectorDataLoader(
            str(path), self.svs.DataType.float32, dims=base.shape[1]
        )

    def data(self, base):
        return self.svs.LVQLoader(self.loader(base), primary=4, residual=8, padding=32)

    def stored(self, path):
        return self.svs.LVQLoader(str(path), padding=32)


class SvsLeanVec(SvsLvq):
    settings = "LeanVec to half the dimensions, LVQ 8, R 32, window 200, alpha .95"

    def data(self, base):
        kind = self.svs.LeanVecKind.lvq8
        return self.svs.LeanVecLoader(
            self.loader(base), base.shape[1] // 2, primary_kind=kind, secondary_kind=kind
        )

    def stored(self, path):
        return self.svs.LeanVecLoader(str(path))


class Glass(Engine):
    package = "pyglass-portable"
    settings = "HNSW R 32, L 200 built on SQ8U; SQ8U codes, FP16 second look"
    note = "Glass (zilliztech) as PyPI has it"

    def searcher_of(self, base, threads):
        self.searcher = self.glass.Searcher(self.graph, base, "IP", "SQ8U", "FP16")
        self.searcher.set_ef(64)
        self.searcher.optimize(threads)

    def build(self, base, threads):
        import glass

        self.glass = glass
        glass.set_num_threads(threads)
        self.graph = glass.Index("HNSW", "IP", "SQ8U", R=32, L=200).build(np.asarray(base))
        self.searcher_of(np.asarray(base), threads)

    def search(self, query, k, knob, threads):
        self.searcher.set_ef(max(knob, k))
        found = self.searcher.batch_search(query, k, threads)
        found = found[0] if isinstance(found, tuple) else found
        return np.asarray(found).reshape(len(query), -1)

    def save(self):
        path = self.folder / "glass"
        self.graph.save(str(path))
        return [path]

    def load(self, base, threads):
        import glass

        self.glass = glass
        glass.set_num_threads(threads)
        self.graph = glass.Graph()
        self.graph.load(str(self.folder / "glass"))
        self.searcher_of(np.asarray(base), threads)


class Symqg(Engine):
    package = "rabitqlib"
    settings = "SymphonyQG, degree 32, 200 candidates, bulk build"
    metric = "ip"

    def build(self, base, threads):
        import rabitqlib

        self.index = rabitqlib.SymqgIndex(base.shape[1], 32, metric=self.metric)
        self.index.build(np.ascontiguousarray(base), 200, num_threads=threads)

    def search(self, query, k, knob, threads):
        call = self.index.search_batch if len(query) > 1 else self.index.search
        found = call(query, k, max(knob, k), num_threads=threads)
        shapes = [np.asarray(x) for x in found]
        labels = next(x for x in shapes if x.dtype.kind in "iu")
        return labels.reshape(len(query), -1)

    def save(self):
        path = self.folder / type(self).__name__
        self.index.save(str(path))
        return [path]

    def load(self, base, threads):
        import rabitqlib

        kind = rabitqlib.SymqgIndex if type(self) is Symqg else rabitqlib.HnswIndex
        self.index = kind.load(str(self.folder / type(self).__name__))


class RabitqHnsw(Symqg):
    settings = "HNSW M 16, efc 200 over RaBitQ codes of 7 bits, 16 clusters"

    def build(self, base, threads):
        import rabitqlib

        self.index = rabitqlib.HnswIndex(
            base.shape[1], len(base), M=16, ef_construction=200, nbits=7, metric=self.metric
        )
        rng = np.random.default_rng(7)
        base = np.ascontiguousarray(base)
        centroids = base[rng.choice(len(base), 16, replace=False)]
        for _ in range(8):  # k-means, as the library's examples have it done outside
            nearest = np.argmax(base @ centroids.T, axis=1)
            for c in range(16):
                mine = base[nearest == c]
                centroids[c] = mine.mean(0) if len(mine) else centroids[c]
        nearest = np.argmax(base @ centroids.T, axis=1).astype(np.uint32)
        self.index.build(base, centroids, nearest, num_threads=threads)

    def search(self, query, k, knob, threads):
        found = self.index.search(query, k, max(knob, k), num_threads=threads)
        labels = next(x for x in map(np.asarray, found) if x.dtype.kind in "iu")
        return labels.reshape(len(query), -1)


class Vsag(Engine):
    package = "pyvsag"
    batch = False
    settings = "HGraph, degree 64, efc 200, SQ8 uniform codes, f32 second look"

    def open(self, dimension, threads=2):
        import pyvsag

        pyvsag.set_logger_off()
        self.index = pyvsag.Index(
            "hgraph",
            json.dumps(
                {
                    "dtype": "float32",
                    "metric_type": "ip",
                    "dim": dimension,
                    "index_param": {
                        "base_quantization_type": "sq8_uniform",
                        "precise_quantization_type": "fp32",
                        "use_reorder": True,
                        "max_degree": 64,
                        "ef_construction": 200,
                        "build_thread_count": threads,
                    },
                }
            ),
        )

    def build(self, base, threads):
        self.open(base.shape[1], threads)
        self.index.build(
            np.ascontiguousarray(base).reshape(-1),
            np.arange(len(base), dtype=np.int64),
            len(base),
            base.shape[1],
        )

    def search(self, query, k, knob, threads):
        options = json.dumps({"hgraph": {"ef_search": max(knob, k)}})
        find = self.index.knn_search
        return padded([find(q, k, options)[0] for q in query], k)

    def save(self):
        self.index.save(str(self.folder / "vsag"))
        return [self.folder / "vsag"]

    def load(self, base, threads):
        self.open(base.shape[1], threads)
        self.index.load(str(self.folder / "vsag"))


class Voyager(Engine):
    package = "voyager"
    settings = "f32, M 16, ef_construction 200"

    def build(self, base, threads):
        import voyager

        self.voyager = voyager
        self.index = voyager.Index(
            voyager.Space.InnerProduct, base.shape[1], M=16, ef_construction=200, random_seed=7
        )
        self.index.add_items(np.asarray(base), num_threads=threads)

    def search(self, query, k, knob, threads):
        return self.index.query(query, k, num_threads=threads, query_ef=max(knob, k))[0]

    def save(self):
        self.index.save(str(self.folder / "voyager"))
        return [self.folder / "voyager"]

    def load(self, base, threads):
        import voyager

        self.index = voyager.Index.load(str(self.folder / "voyager"))


class Ngt(Engine):
    package = "ngt"
    batch = False
    settings = "ANNG, 10 edges at creation, 40 for searching"
    knobs = [0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2]  # epsilon

    def build(self, base, threads):
        import ngtpy

        path = str(self.folder / "ngt")
        shutil.rmtree(path, ignore_errors=True)
        ngtpy.create(path, base.shape[1], distance_type="Normalized Cosine")
        self.index = ngtpy.Index(path, log_disabled=True)
        self.index.batch_insert(np.asarray(base), num_threads=threads)

    def search(self, query, k, knob, threads):
        find = self.index.search
        return padded(
            [[i for i, _ in find(q, size=k, epsilon=knob)] for q in query], k
        )

    def save(self):
        self.index.save()
        return [self.folder / "ngt"]

    def load(self, base, threads):
        import ngtpy

        self.index = ngtpy.Index(str(self.folder / "ngt"), log_disabled=True)


class Scann(Engine):
    package = "scann-core"
    settings = "tree of sqrt(n) · 2 leaves, anisotropic 4-bit codes of 2 dimensions, floats of 200 rows"
    knobs = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]  # leaves
    note = "ScaNN, packaged without TensorFlow"

    def build(self, base, threads):
        import scann

        leaves = int(2 * len(base) ** 0.5)
        self.index = (
            scann.scann_ops_pybind.builder(np.asarray(base), 10, "dot_product")
            .set_n_training_threads(threads)
            .tree(leaves, 32, training_sample_size=min(len(base), 250000))
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(200)
            .build()
        )

    def search(self, query, k, knob, threads):
        if len(query) == 1:
            return self.index.search(query[0], k, leaves_to_search=knob)[0][None]
        if threads == 1:
            return self.index.search_batched(query, k, leaves_to_search=knob)[0]
        self.index.set_num_threads(threads)
        return self.index.search_batched_parallel(query, k, leaves_to_search=knob)[0]


class Lancedb(Engine):
    package = "lancedb"
    batch = False
    slow = True
    settings = "embedded, IVF_HNSW_SQ, m 16, ef_construction 200, floats of 2k rows"
    knobs = [16, 32, 64, 128, 256]

    def build(self, base, threads):
        import lancedb
        import pyarrow as pa

        path = self.folder / "lance"
        shutil.rmtree(path, ignore_errors=True)
        flat = pa.array(np.ascontiguousarray(base).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, base.shape[1])
        rows = pa.table({"id": pa.array(range(len(base)), pa.int64()), "vector": vectors})
        self.table = lancedb.connect(str(path)).create_table("rows", rows)
        self.table.create_index(
            metric="dot",
            index_type="IVF_HNSW_SQ",
            num_partitions=1,
            m=16,
            ef_construction=200,
        )

    def search(self, query, k, knob, threads):
        return padded(
            [
                self.table.search(q)
                .distance_type("dot")
                .nprobes(1)
                .ef(knob)
                .refine_factor(2)
                .limit(k)
                .select(["id"])
                .to_arrow()["id"]
                .to_numpy()
                for q in query
            ],
            k,
        )


class Chroma(Engine):
    package = "chromadb"
    venv = "chroma"
    batch = False
    slow = True
    settings = "embedded, f32, M 16, ef_construction 200; a collection for each ef"
    knobs = [40, 112, 320]

    def build(self, base, threads):
        os.environ["ANONYMIZED_TELEMETRY"] = "False"
        import chromadb

        path = self.folder / "chroma"
        shutil.rmtree(path, ignore_errors=True)
        self.collection = chromadb.PersistentClient(str(path)).create_collection(
            "rows",
            configuration={
                "hnsw": {
                    "space": "ip",
                    "ef_construction": 200,
                    "max_neighbors": 16,
                    "ef_search": 100,
                    "num_threads": threads,
                }
            },
        )
        for start in range(0, len(base), 5000):
            part = np.asarray(base[start : start + 5000])
            ids = [str(i) for i in range(start, start + len(part))]
            self.collection.add(ids=ids, embeddings=part)

    def search(self, query, k, knob, threads):
        self.collection.modify(configuration={"hnsw": {"ef_search": knob}})
        rows = [
            self.collection.query(query_embeddings=[q], n_results=k, include=[])["ids"][0]
            for q in query
        ]
        return padded([[int(i) for i in row] for row in rows], k)


ENGINES = {
    "hnswlib": Hnswlib,
    "faiss": FaissHnsw,
    "faiss-sq8": FaissSq8,
    "usearch": Usearch,
    "usearch-f16": UsearchF16,
    "svs": Svs,
    "svs-lvq": SvsLvq,
    "svs-leanvec": SvsLeanVec,
    "glass": Glass,
    "symqg": Symqg,
    "rabitq-hnsw": RabitqHnsw,
    "vsag": Vsag,
    "voyager": Voyager,
    "ngt": Ngt,
    "scann": Scann,
    "lancedb": Lancedb,
    "chroma": Chroma,
    "exact": Exact,
}

"""The standard examples for K-Means, with ours in place of scikit-learn's: they run, and are no worse."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import sklearn
from sklearn import cluster as peers
from sklearn import metrics
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import estimator_html_repr, shuffle

from fastvbow import KMeans, MiniBatchKMeans

# Ours and what it takes the place of; scikit-learn's mini-batches for both of ours.
PAIRS = {
    "lloyd": (KMeans, {}, peers.KMeans, {}),
    "nested": (MiniBatchKMeans, {}, peers.MiniBatchKMeans, {}),
    "sculley": (MiniBatchKMeans, {"batch_size": 1024}, peers.MiniBatchKMeans, {"batch_size": 1024}),
}
EVERY = pytest.mark.parametrize("pair", PAIRS)
SEEDS = range(7)


def both(pair, **options):
    """Our estimator and scikit-learn's with the same options."""
    kind, own, peer, its_own = PAIRS[pair]
    return kind(**own, **options), peer(**its_own, **options)


def averages(estimator, seeds, measure, average=np.mean):
    return average([measure(clone(estimator).set_params(random_state=s)) for s in seeds], axis=0)


def medians(estimator, seeds, measure):
    return averages(estimator, seeds, measure, np.median)


def pairing(model, other):
    """The centre of `other` that is nearest to each centre of `model`."""
    order = metrics.pairwise_distances_argmin(model.cluster_centers_, other.cluster_centers_)
    assert len(set(order.tolist())) == len(order)
    return order


# Handwritten digits


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.mark.parametrize("init", ["k-means++", "random", "PCA"])
@EVERY
def test_digits(digits, pair, init):
    X, y = digits
    scaled = StandardScaler().fit_transform(X)
    n_init = 4 if init == "random" else 1
    if init == "PCA":
        init = PCA(10).fit(scaled).components_

    def measured(estimator):
        pipeline = make_pipeline(StandardScaler(), estimator).fit(X)
        found = pipeline[-1]
        np.testing.assert_array_equal(pipeline.predict(X), found.labels_)
        names = ("homogeneity", "completeness", "v_measure", "adjusted_rand", "adjusted_mutual_info")
        scores = [getattr(metrics, f"{name}_score")(y, found.labels_) for name in names]
        silhouette = metrics.silhouette_score(scaled[::4], found.labels_[::4])
        return [found.inertia_, *scores, silhouette]

    ours, theirs = (medians(e, SEEDS, measured) for e in both(pair, n_clusters=10, init=init, n_init=n_init))
    assert ours[0] < 1.02 * theirs[0]
    assert (ours[1:] > theirs[1:] - 0.06).all(), (ours, theirs)
    assert ours[4] > 0.38  # adjusted Rand index: the digits are found again


@EVERY
def test_digits_as_bytes(digits, pair):
    X, y = digits
    ours, theirs = both(pair, n_clusters=10, n_init=3)

    def measured(rows):
        return lambda e: (e.fit(rows).inertia_, metrics.adjusted_rand_score(y, e.labels_))

    ours = medians(ours, range(12), measured(X.astype(np.uint8)))
    theirs = medians(theirs, range(12), measured(X))
    assert ours[0] < 1.02 * theirs[0]
    assert ours[1] > max(theirs[1] - 0.08, 0.5)


# Colour quantization


@pytest.fixture(scope="module")
def picture():
    """The summer palace that scikit-learn comes with, or else a coloured landscape; of shape (h, w, 3), uint8."""
    file = Path(sklearn.__file__).parent / "datasets" / "images" / "china.jpg"
    image = cv2.imread(str(file)) if file.exists() else None
    if image is None:
        y, x = np.mgrid[:213, :320] / 213
        image = 127 + 90 * np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y * x), np.sin(9 * y) * x], axis=2)
        image += np.random.default_rng(0).normal(0, 9, image.shape)
    return cv2.resize(np.clip(image, 0, 255).astype(np.uint8), (320, 213), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@EVERY
def test_colour_quantization(picture, pair, dtype):
    pixels = picture.reshape(-1, 3)
    as_floats = pixels / 255.0
    rows = as_floats.astype(dtype) if dtype != np.uint8 else pixels
    sample, float_sample = shuffle(rows, as_floats, random_state=0, n_samples=2000)
    ours, theirs = both(pair, n_clusters=64, n_init=1)

    def error(model, data, train):
        model.fit(train)
        codes, palette = model.predict(data), model.cluster_centers_ / (255 if data.dtype == np.uint8 else 1)
        assert codes.shape == (len(pixels),) and codes.max() == 63
        painted = palette[codes].reshape(picture.shape)
        return np.mean((painted - picture / 255) ** 2)

    ours = medians(ours, range(3), lambda e: error(e, rows, sample))
    theirs = medians(theirs, range(3), lambda e: error(e, as_floats, float_sample))
    assert ours < 1.03 * theirs
    palette = shuffle(as_floats, random_state=0, n_samples=64)
    drawn = palette[metrics.pairwise_distances_argmin(as_floats, palette)]
    assert ours < 0.5 * np.mean((drawn - as_floats) ** 2)
    assert -10 * np.log10(ours) > 28  # dB


# Lloyd beside mini-batches


@pytest.mark.parametrize("batch_size", [None, 45, 1024])
def test_mini_batches_find_what_lloyd_finds(batch_size):
    X, y = make_blobs(3000, centers=[[1, 1], [-1, -1], [1, -1]], cluster_std=0.5, random_state=0)
    lloyd = KMeans(3, n_init=10, random_state=0).fit(X)
    batches = MiniBatchKMeans(3, batch_size=batch_size, n_init=10, max_no_improvement=10, random_state=0).fit(X)
    order = pairing(lloyd, batches)
    assert np.mean(order[lloyd.labels_] == batches.labels_) >= 0.97 if batch_size == 45 else 0.99
    assert metrics.adjusted_rand_score(y, batches.labels_) > metrics.adjusted_rand_score(y, lloyd.labels_) - 0.03
    theirs = peers.KMeans(3, n_init=10, random_state=0).fit(X)
    order = pairing(lloyd, theirs)
    assert np.mean(order[lloyd.labels_] == theirs.labels_) >= 0.99
    np.testing.assert_allclose(theirs.cluster_centers_[order], lloyd.cluster_centers_, atol=1e-2)


# What K-Means takes for granted

SKEW = np.array([[0.6, -0.64], [-0.41, 0.85]])


def assumption(name):
    X, y = make_blobs(1500, random_state=170)
    if name == "skewed":
        return X @ SKEW, y
    if name == "unequal spread":
        return make_blobs(1500, cluster_std=[1.0, 2.5, 0.5], random_state=170)
    if name == "unequal size":
        rows = np.concatenate([np.flatnonzero(y == k)[:n] for k, n in enumerate((500, 100, 10))])
        return X[rows], y[rows]
    return X, y


@pytest.mark.parametrize(
    ("name", "n_clusters", "fits"),
    [
        ("round", 3, True),
        ("wrong number", 2, False),
        ("skewed", 3, False),
        ("unequal spread", 3, True),
        ("unequal size", 3, True),
    ],
)
@EVERY
def test_assumptions(pair, name, n_clusters, fits):
    X, y = assumption(name)

    def measured(estimator):
        estimator.fit(X)
        return estimator.inertia_, metrics.adjusted_rand_score(y, estimator.labels_)

    ours, theirs = (
        averages(e, range(16 if name == "unequal size" else 5), measured)
        for e in both(pair, n_clusters=n_clusters, n_init=10)
    )
    assert ours[0] < 1.03 * theirs[0]
    if pair == "lloyd" or name != "unequal size":  # mini-batches choose among starts, not among ends: it varies
        assert ours[1] > theirs[1] - 0.06
        assert (ours[1] > 0.75) == fits


# The number of clusters


@EVERY
def test_silhouettes_and_elbow(pair):
    X, _ = make_blobs(800, centers=4, cluster_std=1, center_box=(-10, 10), shuffle=True, random_state=1)
    kinds = range(2, 8)
    silhouettes, inertia = {}, {}
    for who in (0, 1):
        models = [both(pair, n_clusters=k, n_init=5, random_state=10)[who].fit(X) for k in kinds]
        silhouettes[who] = [metrics.silhouette_score(X, model.labels_) for model in models]
        inertia[who] = [model.inertia_ for model in models]
        rows = metrics.silhouette_samples(X, models[2].labels_)
        assert [rows[models[2].labels_ == k].mean() > 0.3 for k in range(4)] == [True] * 4
    assert np.argmax(silhouettes[0][:4]) == np.argmax(silhouettes[1][:4])
    np.testing.assert_allclose(silhouettes[0][:3], silhouettes[1][:3], atol=0.01)  # beyond 4 there is no one answer
    assert all(a < 1.03 * b for a, b in zip(inertia[0], inertia[1], strict=True))
    assert all(b < a for a, b in itertools.pairwise(inertia[0]))
    assert int(np.argmax(np.diff(inertia[0], 2))) <= 1  # the elbow is at 3 or 4


# How much hangs on the start


@pytest.mark.parametrize("options", [{"init": "k-means++"}, {"init": "random"}], ids=str)
@EVERY
def test_stability_of_starts(pair, options):
    """A grid of groups: with more starts the inertia varies less, and no more than scikit-learn's."""
    grid = np.array(list(itertools.product(range(3), repeat=2)), dtype=float)
    values = {}
    for n_init in (1, 8):
        for who in (0, 1):
            found = []
            for seed in range(12):
                rng = np.random.RandomState(seed)
                X = np.repeat(grid, 60, axis=0) + rng.normal(scale=0.1, size=(540, 2))
                model = both(pair, n_clusters=9, n_init=n_init, random_state=rng, **options)[who].fit(X)
                found.append(model.inertia_ / (540 * 2 * 0.1**2))
            values[n_init, who] = np.mean(found)
    if options["init"] == "k-means++":
        assert values[8, 0] == pytest.approx(1, abs=0.05)
        assert values[1, 0] < 1.3
        return
    noise = 1  # of averages over 12 sets
    assert values[8, 0] < values[8, 1] + noise
    assert values[1, 0] < values[1, 1] + noise
    assert values[8, 0] < values[1, 0] - 1 if pair == "lloyd" else values[8, 0] < values[1, 0] + noise


# A dictionary of parts, learned from a stream


def test_dictionary_of_parts():
    rng = np.random.default_rng(0)
    bars = [cv2.line(np.zeros((8, 8)), (int(x), 0), (int(7 - x), 7), 1.0, 2) for x in range(8)]
    bars += [bar.T for bar in bars]

    def image():
        tiles = [[bars[i] * rng.uniform(0.5, 1) for i in row] for row in rng.integers(0, 16, (5, 5))]
        return np.block(tiles) + rng.normal(0, 0.05, (40, 40))

    def patches(seed):
        data = extract_patches_2d(image(), (8, 8), max_patches=60, random_state=seed).reshape(60, -1)
        data -= data.mean(axis=0)
        return data / data.std(axis=0)

    stream = [np.concatenate([patches(s) for s in range(i, i + 5)]) for i in range(0, 150, 5)]
    held_out = np.concatenate([patches(s) for s in range(1000, 1010)])
    scores = {}
    for kind in (MiniBatchKMeans, peers.MiniBatchKMeans):
        models = [kind(n_clusters=48, random_state=s) for s in range(3)]
        for model in models:
            for batch in stream:
                model.partial_fit(batch)
            assert model.cluster_centers_.shape == (48, 64)
            assert model.n_steps_ == 30
        scores[kind] = np.median([model.score(held_out) for model in models])
    assert scores[MiniBatchKMeans] > 1.02 * scores[peers.MiniBatchKMeans]  # both are negative
    assert -scores[MiniBatchKMeans] < 0.8 * held_out.var(axis=0).sum() * len(held_out)


# Documents

VOCABULARY = {
    "space": "orbit rocket launch moon satellite shuttle planet telescope gravity astronaut",
    "garden": "soil seed flower compost hedge lawn prune bloom tulip shovel",
    "music": "guitar chord rhythm melody violin concert drum tempo harmony singer",
    "kitchen": "oven butter flour garlic simmer recipe pepper whisk roast sauce",
}
COMMON = "people time year work thing place small good make look find come"


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    topics = np.repeat(np.arange(4), 80)
    texts = []
    for topic in topics:
        own, other = (list(VOCABULARY.values())[t].split() for t in (topic, rng.integers(4)))
        words = [*rng.choice(own, 12), *rng.choice(other, 3), *rng.choice(COMMON.split(), 15)]
        texts.append(" ".join(rng.permutation(words)))
    order = rng.permutation(len(texts))
    return [texts[i] for i in order], topics[order]


@EVERY
def test_documents(documents, pair):
    texts, topics = documents
    vectorizer = TfidfVectorizer(max_df=0.5, min_df=2)
    lsa = make_pipeline(TruncatedSVD(20, random_state=0), Normalizer(copy=False))
    tfidf = vectorizer.fit_transform(texts)
    X = lsa.fit_transform(tfidf)
    with pytest.raises(TypeError, match="dense"):
        both(pair, n_clusters=4)[0].fit(tfidf)  # LSA is what makes it dense

    def measured(estimator):
        estimator.fit(X)
        return estimator.inertia_, metrics.v_measure_score(topics, estimator.labels_)

    ours, theirs = (medians(e, SEEDS, measured) for e in both(pair, n_clusters=4, n_init=5))
    assert ours[0] < 1.02 * theirs[0]
    assert ours[1] > max(theirs[1] - 0.03, 0.9)
    model = both(pair, n_clusters=4, n_init=5, random_state=0)[0].fit(X)
    weights = lsa[0].inverse_transform(model.cluster_centers_)
    terms = vectorizer.get_feature_names_out()
    told = {frozenset(terms[np.argsort(-row)[:5]]) for row in weights}
    for words in VOCABULARY.values():
        assert any(top <= set(words.split()) for top in told)


# Inside other estimators


@EVERY
def test_search_for_the_number_of_clusters(digits, pair):
    """Distances to centres as features of a classifier: more centres help, as they do with scikit-learn's."""
    X, y = digits[0][:700], digits[1][:700]
    train, test, y_train, y_test = train_test_split(X, y, random_state=42)
    accuracy = {}
    for who in (0, 1):
        pipeline = make_pipeline(both(pair, n_clusters=5, random_state=0, n_init=1)[who], StandardScaler())
        pipeline.steps.append(("classifier", LogisticRegression(max_iter=300)))
        name = pipeline.steps[0][0]
        search = GridSearchCV(pipeline, {f"{name}__n_clusters": [3, 40]}, cv=3).fit(train, y_train)
        assert search.best_params_ == {f"{name}__n_clusters": 40}
        accuracy[who] = search.score(test, y_test)
        assert len(search.best_estimator_[0].cluster_centers_) == 40
    assert accuracy[0] > accuracy[1] - 0.04
    assert accuracy[0] > 0.88


@EVERY
def test_score_in_cross_validation(pair):
    X, _ = make_blobs(600, centers=5, random_state=4)
    scores = [cross_val_score(both(pair, n_clusters=k, n_init=4, random_state=0)[0], X, cv=3).mean() for k in (2, 5, 6)]
    assert scores[0] < 2 * scores[1]
    search = GridSearchCV(both(pair, random_state=0)[0], {"n_clusters": [2, 5], "init": ["k-means++", "random"]}, cv=3)
    search.fit(X)
    assert search.best_params_["n_clusters"] == 5
    np.testing.assert_array_equal(search.predict(X), search.best_estimator_.predict(X))


@EVERY
def test_pipeline_passes_weights_and_names(pair):
    pd = pytest.importorskip("pandas")
    X, y = make_blobs([100, 100], centers=[[0, 0], [9, 9]], random_state=0)
    frame = pd.DataFrame(X, columns=["width", "height"]).assign(colour=0.5)
    ours, _ = both(pair, n_clusters=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(), ours).set_output(transform="pandas")
    weights = np.where(y == 0, 1.0, 1e-9)
    name = pipeline.steps[-1][0]
    pipeline.fit(frame, **{f"{name}__sample_weight": weights})
    assert pipeline.transform(frame).columns.tolist() == [f"{name}0", f"{name}1"]
    groups = pipeline.predict(frame)
    assert len(np.unique(groups[y == 0])) == 2  # weights decide: the light group shares a centre
    parts = ColumnTransformer([("near", clone(ours), ["width", "height"])], remainder="passthrough")
    made = parts.set_output(transform="pandas").fit_transform(frame)
    assert made.columns.tolist() == [f"near__{name}0", f"near__{name}1", "remainder__colour"]
    union = FeatureUnion([("two", clone(ours)), ("three", clone(ours).set_params(n_clusters=3))]).fit(X)
    assert union.transform(X).shape == (200, 5)
    assert union.get_feature_names_out().tolist()[:3] == [f"two__{name}0", f"two__{name}1", f"three__{name}0"]


@EVERY
def test_clone_and_what_is_shown(pair):
    model, _ = both(pair, n_clusters=3, init=np.zeros((3, 2)), random_state=7)
    twin = clone(model)
    assert twin.get_params().keys() == model.get_params().keys()
    assert twin.init is not model.init and (twin.init == model.init).all()
    assert repr(clone(model).set_params(init="random")).startswith(f"{type(model).__name__}(")
    assert "n_clusters" in estimator_html_repr(model)
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(n_topics=3)

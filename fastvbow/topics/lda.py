"""Latent Dirichlet allocation by collapsed Gibbs sampling, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastvbow.executors import effective_jobs
from fastvbow.topics import checks, persistence
from fastvbow.topics.chain import Chain, other_seed
from fastvbow.topics.checkpoint import Checkpoint, fingerprint
from fastvbow.topics.fitting import chain_options, learn_more, plan_for, set_found, train
from fastvbow.topics.inference import complete_documents, infer_theta
from fastvbow.topics.stream import TokenStream
from fastvbow.topics.training import Training

__all__ = ["GibbsLDA"]


class GibbsLDA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Latent Dirichlet allocation, trained by collapsed Gibbs sampling.

    Wherever a method takes `X`, it takes word counts (array-like or sparse matrix of shape (n_docs, n_words), whole
    and non-negative), one `TokenStream`, or a list of `TokenStream`, the partitions of a corpus that is never
    concatenated. The same seed gives the same bytes however the corpus is cut.

    Parameters
    ----------
    n_components : int, default=20
        Number of topics K, 1 to 65535.
    doc_topic_prior : float or array-like of shape (K,), default=None
        Dirichlet prior alpha of a document's topics, one for all or one a topic. None is ``1 / n_components``: together
        as heavy as one token, so that short documents (an image with some fifty words) can be of one topic.
    topic_word_prior : float, default=None
        Symmetric Dirichlet prior eta of a topic's words. None is 0.05.
    word_weights : array-like of shape (n_words,), default=None
        How many tokens one token of each word counts for, to balance modalities; None is 1 for all. Rounded to
        multiples of 1/64, which keeps float64 counts exact; 1/64 is the least. A weighted token is sampled by the
        usual conditional with weighted counts (Wilson & Chew 2010), which is the exact posterior's only for weights 1.
    max_iter : int, default=200
        Sweeps over the corpus.
    burn_in : int, default=None
        Sweeps before the first sample is taken, below `max_iter`. None is half of `max_iter`.
    thin : int, default=5
        Every so many sweeps a sample is taken, counted backwards from the last sweep, which always is one.
    transform_method : {"cvb0", "gibbs"}, default="cvb0"
        How `transform`, `perplexity` and `score` find the topics of a document; see `transform`.
    transform_iter : int, default=100
        "cvb0": most iterations for a document; about 10 to 20 are used. "gibbs": sweeps, the second half is averaged.
    init_fraction : float, default=0.9
        Chance that a token of a document in a known group starts with that group as its topic.
    split_merge : int, default=None
        Most rounds of split-merge moves (`fastvbow.topics.split_merge`): a random start tends to end with two topics
        merged and a third one split, and no sweep mends that. The last is held after four fifths of burn-in, each other
        at half the sweep of the one behind it; there are no more once two have found nothing. None is 4 from a random
        start, 0 where `doc_groups` are given. There are none with different priors in `doc_topic_prior`, beyond 1024
        topics or beyond 5e7 tokens.
    n_init : int, default=1
        Starts; the chain with the highest joint likelihood at the end of burn-in goes on.
    optimize_priors : int, default=0
        Every so many sweeps after the last split-merge round the priors are fitted to the counts, `doc_topic_prior`
        with a value for each topic (Minka's fixed point, `fastvbow.topics.priors`). 0 leaves them as they are.
    tol : float, default=0.0
        Burn-in ends early, after the last split-merge round, where the mean of five values of `log_likelihood_` is less
        than this above that of the five before. 0 never ends it.
    algorithm : {"auto", "exact", "lockstep", "sparse"}, default="auto"
        The sampler. "exact" is the sequential chain, visiting eight documents in turn: every token sees all others as
        they are. "lockstep" samples one token of each of 16 documents (2 beyond 512 topics) from the counts without
        them, with the topics' totals of at most 32 such rounds ago: faster, and beside a corpus of thousands of tokens
        not told apart by its perplexity. "sparse" is the sequential chain, document by document, over the topics that a
        token's word has (Yao et al. 2009): for many topics of which a word has few. "auto" is "sparse" from 256 topics
        on where the words are so rare that they have tokens in half of the topics at most; "lockstep" where the corpus
        has 100,000 tokens or more, and "exact" where it has fewer.
    n_walks : int, default=1
        Parts of the corpus that are sampled side by side, each from its own copy of the counts, which are put together
        after each sweep (AD-LDA, Newman et al. 2009): as many threads can train. Changes the result, as it does not
        depend on `n_jobs`. A part should have some 100,000 tokens.
    merge_every : int, default=1
        Sweeps of the walks from one putting together to the next, counted from the last one; earlier where a look at
        the likelihood (`thin`), a round of split-merge moves or an update of the priors asks for the counts. Less
        travels where walks are elsewhere. From groups of photographs, 1 to 64 walks that merge every 1 to 10 sweeps end
        alike: perplexity 62.62 on SUN-8 (accuracy .973 to .975), 52.45 to 52.47 on Scene-15 (.885 to .889), 52.02 on
        Corel-1k (.985).
    random_state : int, RandomState instance or None, default=None
        Seed of the training chain.
    n_jobs : int, default=None
        Threads of `fit` (at most `n_walks`), `transform`, `perplexity` and `score`: None is 1, -1 all cores. Changes no
        result and is not saved.

    Attributes
    ----------
    components_ : ndarray of shape (K, n_words), float64
        Counts of words in topics plus eta, averaged over the samples.
    topic_word_ : ndarray of shape (K, n_words), float64
        p(word | topic): the rows of `components_` made to sum to 1.
    assignments_ : ndarray of shape (n_tokens,), or a list of them, uint8 (K <= 256) or uint16
        Topic of every token after the last sweep, aligned with the tokens given: one array a partition for a list.
        For counts, with the tokens of ``TokenStream.from_counts(X)``. Not saved.
    doc_topic_prior_ : ndarray of shape (K,), float64
        As `topic_word_prior_`: those of the last sweep.
    topic_word_prior_ : float
    word_weights_ : ndarray of shape (n_words,), float64
    log_likelihood_ : ndarray of shape (n_looks,), float64
        log p(w, z) per token at every `thin`-th sweep, burn-in included; a plot of it shows convergence.
    log_likelihood_sweeps_ : ndarray of shape (n_looks,), int64
        The sweeps that `log_likelihood_` belongs to.
    seed_ : int
        The 64-bit seed drawn from `random_state`.
    n_iter_ : int
        Sweeps done.
    n_features_in_ : int
        Number of words.

    References
    ----------
    T. L. Griffiths and M. Steyvers (2004), Finding scientific topics, PNAS 101: the sampler, eq. 5.
    H. M. Wallach, I. Murray, R. Salakhutdinov and D. Mimno (2009), Evaluation methods for topic models: `perplexity`.
    D. Newman, A. Asuncion, P. Smyth and M. Welling (2009), Distributed algorithms for topic models: `n_walks`.
    L. Yao, D. Mimno and A. McCallum (2009), Efficient methods for topic model inference on streaming document
    collections: the sampler "sparse".
    S. Jain and R. M. Neal (2004), A split-merge Markov chain Monte Carlo procedure: the moves of `split_merge`.
    A. Asuncion, M. Welling, P. Smyth and Y. W. Teh (2009), On smoothing and inference for topic models: `transform`.
    A. T. Wilson and P. A. Chew (2010), Term weighting schemes for latent Dirichlet allocation: `word_weights`.
    """

    def __init__(
        self,
        n_components: int = 20,
        *,
        doc_topic_prior: Any = None,
        topic_word_prior: float | None = None,
        word_weights: Any = None,
        max_iter: int = 200,
        burn_in: int | None = None,
        thin: int = 5,
        transform_method: str = "cvb0",
        transform_iter: int = 100,
        init_fraction: float = 0.9,
        split_merge: int | None = None,
        n_init: int = 1,
        optimize_priors: int = 0,
        tol: float = 0.0,
        algorithm: str = "auto",
        n_walks: int = 1,
        merge_every: int = 1,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.doc_topic_prior = doc_topic_prior
        self.topic_word_prior = topic_word_prior
        self.word_weights = word_weights
        self.max_iter = max_iter
        self.burn_in = burn_in
        self.thin = thin
        self.transform_method = transform_method
        self.transform_iter = transform_iter
        self.init_fraction = init_fraction
        self.split_merge = split_merge
        self.n_init = n_init
        self.optimize_priors = optimize_priors
        self.tol = tol
        self.algorithm = algorithm
        self.n_walks = n_walks
        self.merge_every = merge_every
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        doc_groups: Any = None,
        callback: Callable[[int, int], object] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 50,
    ) -> GibbsLDA:
        """Train on a corpus.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_docs, n_words), TokenStream, or list of TokenStream
        y : ignored
        doc_groups : array-like of shape (n_docs,), int, default=None
            A topic for each document to start from, for instance a clustering of the images; -1 where unknown. Each
            token takes it with the chance `init_fraction`, else (and in unknown documents) any topic at random.
        callback : callable, default=None
            Called as ``callback(sweep, n_sweeps)`` after each sweep; the second is `max_iter`, with several starts the
            sweeps of all of them. Where burn-in ends early it is not reached.
        checkpoint : path-like, default=None
            A folder in which the state is kept every `checkpoint_every` sweeps. Where it is there already, training
            goes on from it and ends with the same bytes; it is removed when training is done. With several starts the
            chain that was chosen is kept, not the choosing.
        checkpoint_every : int, default=50

        Returns
        -------
        self : GibbsLDA

        Raises
        ------
        ValueError
            Counts are negative, fractional or not finite, there is no token at all, or a parameter or `doc_groups`
            is out of its range; the checkpoint is of other tokens or parameters (as UsageError).
        ProjectError
            The checkpoint cannot be written, or is something else.

        Notes
        -----
        An interruption (Ctrl-C, or an error in the callback) comes through within a second and leaves a model that can
        be used: what the samples so far say, or the counts as they are where there is none.
        """
        n_topics = checks.whole("n_components", self.n_components, 1, 65535)
        fraction = checks.share("init_fraction", self.init_fraction)
        alpha = checks.positive_vector("doc_topic_prior", self.doc_topic_prior, n_topics, 1.0 / n_topics)
        eta = checks.positive("topic_word_prior", 0.05 if self.topic_word_prior is None else self.topic_word_prior)
        n_init = checks.whole("n_init", self.n_init, 1)
        streams = self._streams(X, reset=True)
        weights = checks.word_weights(self.word_weights, streams[0].n_words)
        groups = checks.doc_groups(doc_groups, sum(stream.n_docs for stream in streams), n_topics)
        n_tokens = sum(stream.n_tokens for stream in streams)
        plan = plan_for(self, alpha, n_tokens, given_groups=groups is not None)
        options = chain_options(self, streams, n_topics)
        if not n_tokens:
            raise ValueError("the corpus has no tokens: every document is empty")
        seed = int(check_random_state(self.random_state).randint(0, 2**64, dtype=np.uint64))
        place = None
        if checkpoint is not None:
            known = {**persistence.deciding_parameters(self), "n_jobs": None, "random_state": seed}
            run = fingerprint(streams, known, groups)
            place = Checkpoint(Path(checkpoint), run, checks.whole("checkpoint_every", checkpoint_every, 1))

        def start(number: int) -> Training:
            own = other_seed(seed, number)
            return Training(Chain.start(streams, alpha, eta, weights, own, groups, fraction, **options), plan)

        train(start, n_init, callback, place, lambda training: self._keep(training, X))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> GibbsLDA:
        """Learn from more documents: on a model that is fitted already theirs are the only tokens that are sampled.

        They are swept a tenth as often as `max_iter` says, at least 10 times, beside the counts that the topics have so
        far; the second half of the sweeps is averaged. `assignments_` and `log_likelihood_` are then of these documents
        alone. The first call, on a model that is not fitted, is `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_docs, n_words), TokenStream, or list of TokenStream
        y : ignored

        Raises
        ------
        ValueError
            As `fit`, or the number of words is not the model's.
        """
        if not hasattr(self, "components_"):
            return self.fit(X)
        streams, n_before = self._streams(X, reset=False), self.n_iter_
        if any(stream.n_tokens for stream in streams):
            self._keep(learn_more(self, streams), X)
            self.n_iter_ += n_before
        return self

    def _keep(self, training: Training, X: Any) -> None:
        """Set what a training has found."""
        set_found(self, training)
        z = training.chain.z
        self.assignments_ = z if isinstance(X, (list, tuple)) and checks.all_streams(X) else z[0]

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Topic proportions of documents, old or new, under the frozen topics.

        Each document is looked at by itself: its theta depends on nothing but its words (not on their order, its
        neighbours, or `n_jobs`). "cvb0" is the fixed point of collapsed variational inference from the prior, "gibbs"
        the mean of samples of fold-in Gibbs sampling, with random numbers from the model's seed and those words.

        On planted models (K 20 and 100) the L1 distance of CVB0 from the posterior mean of theta is .10-.12 against
        .12-.22 for 10 + 20 sweeps where documents are ambiguous, and within .014 of theirs where they are clear, in a
        quarter to an eighteenth of the time; many sweeps come as near to the mean as one likes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_docs, n_words), TokenStream, or list of TokenStream

        Returns
        -------
        theta : ndarray of shape (n_docs, K), float64
            Rows sum to 1. An empty document gets the prior mean.

        Raises
        ------
        ValueError
            As `fit`, or the number of words is not the model's.
        """
        check_is_fitted(self)
        return infer_theta(self._streams(X, reset=False), *self._frozen())

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[np.float64]:
        """Train, then `transform` the same documents.

        Theta is that of the frozen model, so documents seen in training and later ones are treated alike.
        """
        return self.fit(X, y, **fit_params).transform(X)

    def perplexity(self, X: Any) -> float:
        """Held-out perplexity by document completion; lower is better, a uniform model has `n_words`.

        Each document's topics are inferred from its tokens at even positions (0, 2, ...), and those at odd positions
        are foretold: exp(-mean log sum_k theta_dk phi_kw). For counts, positions are those of
        ``TokenStream.from_counts(X)``: words in column order, each repeated by its count. Held-out tokens count for one
        each, whatever `word_weights` says.

        Raises
        ------
        ValueError
            As `transform`, or no document has two tokens.
        """
        return float(np.exp(-self.score(X)))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of a held-out token, by the estimator of `perplexity`; higher is better."""
        check_is_fitted(self)
        log_likelihood, n_tokens = complete_documents(self._streams(X, reset=False), *self._frozen())
        if n_tokens == 0:
            raise ValueError("document completion needs a document of at least two tokens, and there is none")
        return log_likelihood / n_tokens

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, as `fastvbow.topics.persistence` specifies.

        The files are written beside it and swapped in whole: an error leaves a model that is there as it was. A process
        killed between the two renames of the swap leaves the old model under a hidden name (``.NAME.HEX.old``) beside
        the folder; in a project, the next writer puts it back.

        Raises
        ------
        ProjectError
            The folder cannot be written, or holds something that is not a topic model.
        """
        check_is_fitted(self)
        persistence.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> GibbsLDA:
        """Read a model that `save` wrote. Executes no code.

        Raises
        ------
        ProjectError
            The folder is not such a model, or was written by a newer fastvbow.
        StoreCorruptError
            A file does not hold what the manifest says.
        """
        return persistence.load(cls(), Path(folder))

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def _frozen(self) -> tuple[Any, ...]:
        phi = np.ascontiguousarray(self.topic_word_.T)
        max_iter = checks.whole("transform_iter", self.transform_iter, 1)
        if self.transform_method not in ("cvb0", "gibbs"):
            raise ValueError(f"transform_method must be cvb0 or gibbs, got {self.transform_method!r}")
        seed = self.seed_ if self.transform_method == "gibbs" else None
        return phi, self.doc_topic_prior_, self.word_weights_, max_iter, effective_jobs(self.n_jobs, default=1), seed

    def _streams(self, X: Any, *, reset: bool) -> list[TokenStream]:
        streams = [X] if isinstance(X, TokenStream) else list(X) if checks.all_streams(X) else None
        if streams is None:
            X = validate_data(self, X, accept_sparse="csr", reset=reset, ensure_non_negative=True)
            return [TokenStream.from_checked_counts(X)]
        n_words = {stream.n_words for stream in streams}
        if len(n_words) > 1:
            raise ValueError(f"the partitions have vocabularies of different sizes: {sorted(n_words)}")
        if reset:
            self.n_features_in_ = streams[0].n_words
            self.__dict__.pop("feature_names_in_", None)
        elif streams[0].n_words != self.n_features_in_:
            raise ValueError(f"X has {streams[0].n_words} words, but the model was trained with {self.n_features_in_}")
        return streams

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

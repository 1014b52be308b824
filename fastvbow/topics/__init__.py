"""From visual words to topics: latent Dirichlet allocation by collapsed Gibbs sampling."""

from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.stream import TokenStream

__all__ = ["GibbsLDA", "TokenStream"]

"""From visual words to topics: latent Dirichlet allocation by collapsed Gibbs sampling."""

from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.likelihood import left_to_right
from fastvbow.topics.quality import npmi_coherence, topic_diversity, umass_coherence
from fastvbow.topics.stability import match_topics, topic_stability
from fastvbow.topics.stream import TokenStream

__all__ = [
    "GibbsLDA",
    "TokenStream",
    "left_to_right",
    "match_topics",
    "npmi_coherence",
    "topic_diversity",
    "topic_stability",
    "umass_coherence",
]

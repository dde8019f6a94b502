"""E-commerce recommendation: what will this shopper want next?"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from prefect import flow

from flows.pipeline import run
from flows.recording.outcome import RunOutcome
from flows.use_case import RunParameters, UseCase
from ml.estimator import Candidate
from ml.evaluation.quality_gate import QualityThresholds
from ml.evaluation.ranking_evaluator import RankingEvaluator
from ml.recommenders.als import ALS
from ml.recommenders.content_based import Content
from ml.recommenders.ease import EASE
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.markov import Markov
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import Habit
from ml.recommenders.transformer.model import Transformer
from ml.reranking.reranker import Reranked
from tasks.split import split_histories
from tasks.train import refit

# Shoppers without a history get what is popular now, whichever model leads.
NOW = 30
# What the re-ranker chooses from. Models that are named in others have one home: here.
FIRST_STAGE: Mapping[str, Candidate] = {
    "popularity of 30 days": Popularity(days=NOW),
    "popularity by segment": Popularity(days=NOW, by_segment=True),
    "item-kNN": ItemKNN(decay=None, days=NOW),
    "content": Content(decay=None, days=NOW),
    "Markov": Markov(days=NOW),
    "EASE": EASE(days=NOW),
    "ALS": ALS(factors=128, decay=None, days=NOW),
}
RERANKED = Reranked(
    FIRST_STAGE,
    returning={"habits": Habit(days=NOW)},
    depths={"popularity of 30 days": 50, "popularity by segment": 50, "item-kNN": 50, "content": 50},
    lasting=("item-kNN", "EASE", "ALS"),
)
# On validation items of MovieLens 1M the network lifts the re-ranker from .188 to .200, and takes ten minutes.
WITH_TRANSFORMER = replace(
    RERANKED, models={**FIRST_STAGE, "transformer": Transformer(days=NOW)}, least=600.0
)
CASE = UseCase(
    name="ecommerce-recommendation",
    question="What will this shopper want next?",
    split=split_histories,
    # What sells now is as simple as what sold at any time, and the better baseline of a shop that goes on.
    candidates={
        "popularity of 30 days": FIRST_STAGE["popularity of 30 days"],
        "popularity": Popularity(),
        "popularity of 7 days": Popularity(days=7),
        **FIRST_STAGE,
        "habits": Habit(days=NOW),
        "re-ranked": RERANKED,
        "re-ranked with transformer": WITH_TRANSFORMER,
    },
    evaluator=RankingEvaluator(k=10),
    thresholds=QualityThresholds(minimum=0.01, subgroup_gap=0.1),
    final_fit=refit,
)


@flow(name=CASE.name, persist_result=False)
def ecommerce_recommendation(
    data: str = "simulated",
    contract: str | None = None,
    seed: int = 0,
    budget: float = 300.0,
    trials: int = 0,
    fresh: bool = False,
    as_of: datetime | None = None,
    only_new_data: bool = False,
) -> RunOutcome:
    """What will this shopper want next?

    Args:
        data: A data set that has a contract, or the path of a file.
        contract: The contract's name or file; by default the one named as the data.
        seed: Seed of everything random in training. The test rows do not depend on it.
        budget: Seconds of training, over all candidates. With 600 left, the re-ranker has a transformer too.
        trials: Trials that may refine a candidate's hyperparameters, where it can, while the budget lasts.
        fresh: Compute everything again instead of reusing what is known.
        as_of: Leave out rows from after this instant (UTC): the run as it would have been then.
        only_new_data: End at once when the last decided run knew all of this already.
    """
    return run(CASE, RunParameters(data, contract, seed, budget, trials, fresh, as_of, only_new_data))

"""Tell whether a review is positive."""

from flows.training_flow import training_flow
from flows.use_case import Nouns, UseCase
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.class_prior import ClassPrior
from ml.text.blend import Blend, unspaced_members
from ml.text.tfidf_linear import TfidfLinear
from tasks.split import split_rows

CASE = UseCase(
    name="product-reviews",
    question="Is this review positive?",
    split=split_rows,
    reads_texts=True,
    candidates={
        "class prior": ClassPrior(),
        "TF-IDF": TfidfLinear(),
        # Reviews in Chinese, for which no weights can be installed; docs/text.md says how to use those of a folder.
        "blend": Blend(unspaced_members()),
    },
    evaluator=BinaryEvaluator(primary="roc_auc"),
    # A fine-tuned BERT alone has 400 MB.
    thresholds=QualityThresholds(min_primary=0.8, max_calibration_error=0.05, max_megabytes=1000.0),
    time_budget=1200.0,
    nouns=Nouns("reviews", "positive reviews"),
)

product_reviews = training_flow(CASE)

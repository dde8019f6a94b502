"""Route a customer's message to the desk that answers it."""

from flows.training_flow import training_flow
from flows.use_case import Nouns, UseCase
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.class_prior import ClassPrior
from ml.text.blend import Blend
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.tfidf_linear import TfidfLinear
from tasks.split import split_rows

CASE = UseCase(
    name="customer-service",
    question="What is this message about?",
    split=split_rows,
    reads_texts=True,
    candidates={
        "class prior": ClassPrior(),
        "TF-IDF": TfidfLinear(),
        "frozen encoder": FrozenEncoder(),
        "fine-tuned encoder": FineTunedEncoder(),
        "blend": Blend(),
    },
    evaluator=MulticlassEvaluator(),
    # A fine-tuned BERT alone has 400 MB.
    thresholds=QualityThresholds(
        min_primary=0.6,
        max_calibration_error=0.1,
        max_subgroup_gap=0.03,
        max_subgroup_shift=0.25,
        max_megabytes=1000.0,
    ),
    time_budget=1200.0,
    nouns=Nouns("messages"),
)

customer_service = training_flow(CASE)

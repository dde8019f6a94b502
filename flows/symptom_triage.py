"""Name the disease that a patient's description of symptoms fits best."""

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
    name="symptom-triage",
    question="Which disease do these symptoms fit best?",
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
    thresholds=QualityThresholds(min_primary=0.7, max_calibration_error=0.1, max_megabytes=1000.0),
    time_budget=600.0,
    nouns=Nouns("descriptions"),
)

symptom_triage = training_flow(CASE)

"""Candidates that classify messages, from n-grams with a linear model to fine-tuned encoders of sentences."""

"""Hyperparameters of the sequence transformer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerConfig:
    """`blocks` blocks of attention with `heads` heads and a feed-forward layer, on embeddings of `dim` numbers.

    Training uses AdamW (Loshchilov and Hutter, 2019) on batches of `batch_tokens` positions of histories, which are cut
    into windows of at most `max_length` events. A batch is smaller where an epoch would have fewer than
    `ml.recommenders.transformer.training.MIN_STEPS_PER_EPOCH` batches. The learning rate rises over the first
    `warmup_steps` steps and then stays constant. The model is the exponential moving average of the weights with the
    factor `ema_decay` (Polyak and Juditsky, 1992): it replaces a falling learning rate and is usable whenever time
    runs out.

    Training ends after `patience` epochs without a gain in NDCG@10 on held-out events: the last events of up to 2,000
    users. A fit runs for at most `max_epochs`, one that continues from an earlier model for `max_warm_start_epochs`.
    Catalogues of more than `max_full_softmax_items` are trained against `negatives` per position, half of them drawn
    from the events and half from the catalogue.

    A `dropout` of None is 0.2 where items have `ml.recommenders.transformer.training.MIN_DENSE_EVENTS_PER_ITEM` events
    or more on average, otherwise 0.4 (0.2 and 0.5 in Kang and McAuley, 2018).

    Users without a history get the most popular items of the last `popularity_days`, or of all time.
    """

    dim: int = 64
    blocks: int = 2
    heads: int = 2
    ffn_dim: int = 256
    max_length: int = 200
    dropout: float | None = None
    learning_rate: float = 0.003
    warmup_steps: int = 200
    ema_decay: float = 0.998
    weight_decay: float = 0.01
    batch_tokens: int = 4096
    max_epochs: int = 100
    max_warm_start_epochs: int = 4
    patience: int = 5
    max_full_softmax_items: int = 50_000
    negatives: int = 256
    popularity_days: float | None = None

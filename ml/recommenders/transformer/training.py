"""Training of the sequence transformer: AdamW, averaged weights and early stopping on held-out events."""

import copy

import numpy as np
import torch
from torch import Tensor

from ml.deadline import Deadline
from ml.device import Device
from ml.estimator import FitResources
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import row_blocks
from ml.recommenders.transformer import loss
from ml.recommenders.transformer.batches import Batch, leave_last_out, training_batches
from ml.recommenders.transformer.config import TransformerConfig
from ml.recommenders.transformer.network import SequenceNetwork, last_states

# Mean events per item from which on data do not count as sparse, and the default dropout of both kinds of data.
MIN_DENSE_EVENTS_PER_ITEM = 100
DENSE_DROPOUT, SPARSE_DROPOUT = 0.2, 0.4
# Batches become smaller until an epoch has so many of them, but not smaller than so many positions.
MIN_STEPS_PER_EPOCH = 64
MIN_BATCH_TOKENS = 256


class Trainer:
    """Trains a network on histories; `best_weights` are the averaged weights that were best on held-out events."""

    def __init__(
        self,
        config: TransformerConfig,
        network: SequenceNetwork,
        histories: Histories,
        allow_repeats: bool,
        resources: FitResources,
        is_warm_start: bool,
    ) -> None:
        self.config, self.allow_repeats, self.is_warm_start = config, allow_repeats, is_warm_start
        self.device, self.log_progress = resources.device, resources.log_progress
        self.rng = np.random.default_rng(resources.seed)
        self.train, self.held_out, self.held_out_targets = leave_last_out(histories, self.rng)
        self.network = network.to(self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.best_weights = self.average.state_dict()
        self.steps = 0
        n_events = len(self.train.items)
        is_sparse = n_events < MIN_DENSE_EVENTS_PER_ITEM * histories.n_items
        default_dropout = SPARSE_DROPOUT if is_sparse else DENSE_DROPOUT
        self.dropout = default_dropout if config.dropout is None else config.dropout
        self.batch_tokens = min(config.batch_tokens, max(MIN_BATCH_TOKENS, n_events // MIN_STEPS_PER_EPOCH))
        self.logit_dtype = torch.bfloat16 if _has_bfloat16(self.device) else torch.float32
        self.events = torch.from_numpy(self.train.items).to(self.device)
        frequency = torch.bincount(self.events, minlength=histories.n_items) / max(n_events, 1)
        # Of each item among the negatives of a position.
        self.log_expected = torch.log(config.negatives * (frequency + 1 / histories.n_items) / 2)
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)

    def run(self, deadline: Deadline, max_epochs: int) -> int:
        """Train until early stopping, the deadline or `max_epochs`; return the best epoch.

        At least one step is made. The best epoch is 0 if time was up before the first evaluation.
        """
        best_ndcg, best_epoch = -1.0, 0
        has_held_out = bool((self.held_out_targets >= 0).any())
        for epoch in range(1, max_epochs + 1):
            losses = []
            for batch in training_batches(self.train, self.config.max_length, self.batch_tokens, self.rng):
                losses.append(self._step(batch))
                if deadline.passed:
                    break
            if deadline.passed:
                # An evaluation would take more time. Before the first one, the best weights are the current average.
                break
            ndcg = self._held_out_ndcg()
            self.log_progress(
                f"epoch {epoch}: loss {np.mean(losses or [0.0]):.4f}, held-out NDCG@10 {ndcg:.4f}"
            )
            if ndcg > best_ndcg or not has_held_out:
                best_ndcg, best_epoch = ndcg, epoch
                self.best_weights = {
                    name: weight.clone() for name, weight in self.average.state_dict().items()
                }
            if epoch - best_epoch >= self.config.patience or not losses:
                break
        return best_epoch

    def _step(self, batch: Batch) -> float:
        config, embeddings = self.config, self.network.items.weight
        targets = torch.from_numpy(batch.targets).to(self.device)
        is_target = targets >= 0
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            items = torch.from_numpy(batch.items).to(self.device)
            H = self.network(items, self._dropout)[is_target]
        mean_loss, dH, dE = self._loss(H.detach().float(), embeddings.detach(), targets[is_target])
        self.optimizer.zero_grad(set_to_none=True)
        H.backward(dH.to(H.dtype))
        assert embeddings.grad is not None
        embeddings.grad += dE
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, self.steps / config.warmup_steps)
        self.optimizer.step()
        # At first the average is over all steps, so that it forgets the initial weights, unless they are trained ones.
        ema_decay = config.ema_decay
        if not self.is_warm_start:
            ema_decay = min(ema_decay, (self.steps - 1) / (self.steps + 9))
        torch._foreach_lerp_(
            list(self.average.parameters()),
            [weight.detach() for weight in self.network.parameters()],
            1.0 - ema_decay,
        )
        return mean_loss

    def _dropout(self, X: Tensor) -> Tensor:
        """Apply dropout in steps of 1/256, drawn as bytes: on the CPU, torch's own draws take ten times as long."""
        if not (dropped := round(self.dropout * 256)):
            return X
        draws = torch.frombuffer(bytearray(self.rng.bytes(X.numel())), dtype=torch.uint8)
        return X * (draws.to(self.device) >= dropped).view(X.shape) * (256 / (256 - dropped))

    def _loss(self, H: Tensor, E: Tensor, targets: Tensor) -> loss.Gradients:
        if len(E) <= self.config.max_full_softmax_items:
            return loss.full_cross_entropy(H, E, targets, self.logit_dtype)
        return loss.sampled_cross_entropy(H, E, targets, self._draw_negatives)

    def _draw_negatives(self, positions: int) -> tuple[Tensor, Tensor]:
        """Draw negatives, half from the events and half from the catalogue, and the logarithm of their expected number.

        The expected number is negatives * (frequency + 1 / items) / 2.
        """
        half = self.config.negatives // 2
        # Drawn on the CPU, so that draws are the same on any device.
        from_events = self.events[torch.randint(len(self.events), (positions, half)).to(self.device)]
        from_catalogue = torch.randint(len(self.log_expected), (positions, self.config.negatives - half))
        items = torch.cat([from_events, from_catalogue.to(self.device)], dim=1)
        return items, self.log_expected[items]

    def _held_out_ndcg(self) -> float:
        """Evaluate the averaged weights; 0 without held-out users."""
        total = 0.0
        with torch.no_grad():
            for users, states in last_states(self.average, self.held_out):
                for rows in row_blocks(len(users), self.held_out.n_items):
                    total += self._ndcg_sum(users[rows], states[rows] @ self.average.items.weight.T)
        return total / max(int((self.held_out_targets >= 0).sum()), 1)

    def _ndcg_sum(self, users: np.ndarray, scores: Tensor) -> float:
        """Sum 1 / log2(1 + rank of the held-out item) over users for ranks of at most 10."""
        targets = torch.from_numpy(self.held_out_targets[users])[:, None].to(self.device)
        target_score = scores.gather(1, targets)
        if not self.allow_repeats:
            offsets = self.held_out.offsets
            for row, user in enumerate(users):
                scores[row, self.held_out.items[offsets[user] : offsets[user + 1]]] = -torch.inf
        rank = 1 + (scores > target_score).sum(dim=1)
        return float(torch.where(rank <= 10, 1.0 / torch.log2(1.0 + rank), 0.0).sum())


def _has_bfloat16(device: Device) -> bool:
    """Check for hardware instructions on bfloat16; without them it is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return device == "cuda" or bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

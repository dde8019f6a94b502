"""training."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ml.device import Device
from ml.estimator import FitResources
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import blocks
from ml.recommenders.transformer import loss as softmax
from ml.recommenders.transformer.batches import Batch, batches, hold_out
from ml.recommenders.transformer.network import _last_states, states

if TYPE_CHECKING:
    import torch

    from ml.recommenders.transformer.model import Transformer

    Weights = Mapping[str, torch.Tensor]


# Events an item, from which on data are not sparse.
OFTEN = 100


# Batches of an epoch, unless these are smaller than `SMALLEST` places.
STEPS = 64


SMALLEST = 256


class _Training:
    """Weights, their average, and the events that change them and that say when to stop."""

    def __init__(
        self,
        of: "Transformer",
        histories: Histories,
        repeat: bool,
        resources: FitResources,
        first: "Weights",
        goes_on: bool,
    ) -> None:
        import torch

        self.of, self.repeat, self.device, self.tell = of, repeat, resources.device, resources.log_progress
        self.rng = np.random.default_rng(resources.seed)
        self.histories, self.asked, self.wanted = hold_out(histories, self.rng)
        self.goes_on = goes_on
        self.weights = {name: one.to(self.device).requires_grad_() for name, one in first.items()}
        self.averages = {name: one.detach().clone() for name, one in self.weights.items()}
        self.best = self.averages
        self.steps = 0
        events = len(self.histories.items)
        sparse = events < OFTEN * histories.catalogue
        self.dropout = of.dropout if of.dropout is not None else 0.4 if sparse else 0.2
        self.batch_tokens = min(of.batch_tokens, max(SMALLEST, events // STEPS))
        self.half = torch.bfloat16 if _has_bfloat16(self.device) else torch.float32
        self.events = torch.from_numpy(self.histories.items).to(self.device)
        often = torch.bincount(self.events, minlength=histories.catalogue) / max(len(self.events), 1)
        self.log_expected = torch.log(of.negatives * (often + 1 / histories.catalogue) / 2)
        plain = [one for one in self.weights.values() if one.ndim == 1]
        matrices = [one for one in self.weights.values() if one.ndim > 1]
        groups = [
            {"params": matrices, "weight_decay": of.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=of.learning_rate, betas=(0.9, 0.98), fused=True)

    def run(self, deadline: float, epochs: int) -> int:
        """Train until `best` are the best weights: their epoch."""
        of, best, best_epoch = self.of, -1.0, 0
        for epoch in range(1, epochs + 1):
            losses = []
            for batch in batches(self.histories, of.longest, self.batch_tokens, self.rng):
                losses.append(self._step(batch))
                if time.monotonic() > deadline:
                    break
            if time.monotonic() > deadline:
                # One more look at the held-out events would be late; before the first one, all there is is the best.
                break
            ndcg = self._held_out_ndcg()
            self.tell(f"epoch {epoch}: loss {np.mean(losses or [0.0]):.4f}, held-out NDCG@10 {ndcg:.4f}")
            if ndcg > best or (self.wanted < 0).all():
                best, best_epoch = ndcg, epoch
                self.best = {name: one.clone() for name, one in self.averages.items()}
            if epoch - best_epoch >= of.patience or not losses:
                break
        return best_epoch

    def _step(self, batch: Batch) -> float:
        import torch

        of, own = self.of, self.weights
        targets = torch.from_numpy(batch.targets).to(self.device)
        known = targets >= 0
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            H = states(own, of.heads, torch.from_numpy(batch.items).to(self.device), self._drop)[known]
        loss, dH, dE = self._loss(H.detach().float(), own["items"].detach(), targets[known])
        self.optimizer.zero_grad(set_to_none=True)
        H.backward(dH.to(H.dtype))  # type: ignore[no-untyped-call]
        assert own["items"].grad is not None
        own["items"].grad += dE
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = of.learning_rate * min(1.0, self.steps / of.warm_up)
        self.optimizer.step()
        # At first the average is over all steps, and not over how it began, unless that was good already.
        memory = of.average if self.goes_on else min(of.average, (self.steps - 1) / (self.steps + 9))
        torch._foreach_lerp_(
            list(self.averages.values()), [one.detach() for one in own.values()], 1.0 - memory
        )
        return loss

    def _drop(self, X: "torch.Tensor") -> "torch.Tensor":
        """Dropout of 1/256 parts, by bytes: torch takes ten times as long for its chance on the CPU."""
        import torch

        if not (parts := round(self.dropout * 256)):
            return X
        chance = torch.frombuffer(bytearray(self.rng.bytes(X.numel())), dtype=torch.uint8)
        return X * (chance.to(self.device) >= parts).view(X.shape) * (256 / (256 - parts))

    def _loss(self, H: "torch.Tensor", E: "torch.Tensor", targets: "torch.Tensor") -> softmax.Gradients:
        if len(E) <= self.of.full_softmax:
            return softmax.full(H, E, targets, self.half)
        return softmax.sampled(H, E, targets, self._negatives)

    def _negatives(self, rows: int) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Half from the events, half from the catalogue, and log of negatives * (frequency + 1 / items) / 2."""
        import torch

        half = self.of.negatives // 2
        # On the CPU, so that chance is the same on any device.
        often = self.events[torch.randint(len(self.events), (rows, half)).to(self.device)]
        any_of = torch.randint(len(self.log_expected), (rows, self.of.negatives - half)).to(self.device)
        items = torch.cat([often, any_of], dim=1)
        return items, self.log_expected[items]

    def _held_out_ndcg(self) -> float:
        """Of the average weights; 0 where nobody is held out."""
        import torch

        total = 0.0
        with torch.no_grad():
            for users, last in _last_states(self.averages, self.of.heads, self.asked):
                for rows in blocks(len(users), self.asked.catalogue):
                    total += self._ndcg(users[rows], last[rows] @ self.averages["items"].T)
        return total / max(int((self.wanted >= 0).sum()), 1)

    def _ndcg(self, users: np.ndarray, scores: "torch.Tensor") -> float:
        """The sum over users of 1 / log2(1 + rank) of what they had next, where the rank is at most 10."""
        import torch

        wanted = torch.from_numpy(self.wanted[users])[:, None].to(self.device)
        score = scores.gather(1, wanted)
        if not self.repeat:
            for row, user in enumerate(users):
                scores[
                    row, self.asked.items[self.asked.start[user] : self.asked.start[user + 1]]
                ] = -torch.inf
        rank = 1 + (scores > score).sum(dim=1)
        return float(torch.where(rank <= 10, 1.0 / torch.log2(1.0 + rank), 0.0).sum())


def _has_bfloat16(device: Device) -> bool:
    import torch

    can = torch.cpu.get_capabilities()
    return device == "cuda" or bool(can.get("avx512_bf16") or can.get("amx_bf16"))

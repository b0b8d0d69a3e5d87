"""What Hugging Face's Trainer reads beside our loop: the same utterances, padded to their longest.

Needs no more than torch and NumPy: a bare machine with a GPU has these.
"""

import numpy as np
import torch

from ray_slm.training.packing import Documents


class Padded(torch.utils.data.Dataset):
    """Utterances in the shared order, as the Trainer wants them."""

    def __init__(self, train: Documents, vocab_size: int, indices: np.ndarray) -> None:
        bos, eos = [vocab_size], [vocab_size + 1]
        self.rows = [np.concatenate((bos, train.tokens(i), eos)).astype(np.int64) for i in indices]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.from_numpy(self.rows[index])}


def padded_to_longest(rows: list[dict[str, torch.Tensor]], padding: int) -> dict[str, torch.Tensor]:
    """A batch whose rows are as long as its longest utterance; padding is not trained on."""
    ids = [row["input_ids"] for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(ids, batch_first=True, padding_value=padding),
        "attention_mask": pad([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad(ids, batch_first=True, padding_value=-100),
    }

"""What the tests of encoders share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Small models gain nothing by threads, and lose much on a busy machine."""
    import torch

    torch.set_num_threads(1)

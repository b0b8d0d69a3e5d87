import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.units.kmeans import Codebook, fit_codebook, refuse_collapsed


def blobs(num_frames=2_000, num_blobs=8, seed=0):
    """Frames around well separated centers; one dimension is a thousand times wider."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(0, 4, (num_blobs, 6))
    labels = rng.integers(0, num_blobs, num_frames)
    frames = centers[labels] + rng.normal(0, 0.2, (num_frames, 6))
    frames[:, 0] *= 1000
    return frames.astype(np.float32), labels


def fit(frames, num_units=8, seed=0):
    return fit_codebook(
        frames.copy(), num_units, extractor="blobs", seed=seed, max_iterations=50, num_inits=3
    )


def test_units_are_the_blobs_whatever_the_width_of_a_dimension():
    frames, labels = blobs()
    units = fit(frames).units_N
    assert len(set(zip(units.tolist(), labels.tolist(), strict=True))) == 8


def test_assigning_raw_features_gives_the_units_of_the_fit():
    frames, _ = blobs()
    codebook, units = fit(frames)
    np.testing.assert_array_equal(codebook.assign(torch.from_numpy(frames)).numpy(), units)


def test_the_same_seed_gives_the_same_file(tmp_path):
    frames, _ = blobs()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(frames, 16, seed).codebook.write(tmp_path / name)
    read = {n: next((tmp_path / n).iterdir()).read_bytes() for n in "abc"}
    assert read["a"] == read["b"] != read["c"]


def test_a_codebook_comes_back_from_its_file(tmp_path):
    frames, _ = blobs()
    codebook, units = fit(frames)
    codebook.write(tmp_path)
    again = Codebook.read(tmp_path)
    assert (again.extractor, again.num_units) == ("blobs", 8)
    np.testing.assert_array_equal(again.assign(torch.from_numpy(frames)).numpy(), units)


@settings(max_examples=30)
@given(start=st.integers(0, 500), size=st.integers(1, 500))
def test_each_frame_goes_to_the_nearest_centroid(start, size):
    rng = np.random.default_rng(1)
    centroids = rng.normal(size=(20, 4)).astype(np.float32)
    mean, deviation = np.float32([1, 2, 3, 4]), np.float32([1, 10, 0.1, 2])
    codebook = Codebook(centroids, mean, deviation, "random")
    frames = (rng.normal(size=(1_000, 4)) * deviation + mean).astype(np.float32)
    part = frames[start : start + size]
    scaled = ((part - mean) / deviation).astype(np.float64)
    distances = ((scaled[:, None] - centroids[None].astype(np.float64)) ** 2).sum(-1)
    found = codebook.assign(torch.from_numpy(part)).numpy()
    chosen = distances[np.arange(len(part)), found]
    np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-5)


def test_of_equal_centroids_the_first_is_taken():
    centroids = np.float32([[5, 5], [1, 0], [1, 0], [0, 1]])
    codebook = Codebook(centroids, np.zeros(2, np.float32), np.ones(2, np.float32), "ties")
    frames = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(5_000, 1)
    assert codebook.assign(frames).tolist() == [1, 3] * 5_000


def test_fewer_frames_than_units_are_refused():
    with pytest.raises(ValueError, match="9 units cannot be fitted on 8 frames"):
        fit(blobs()[0][:8], 9)


def test_a_collapsed_codebook_is_refused():
    even = np.arange(1_000) % 10
    refuse_collapsed(even, 10)
    with pytest.raises(ValueError, match=r"collapsed: of 12 units 16\.7% are unused"):
        refuse_collapsed(even, 12)
    lopsided = np.concatenate([np.arange(10), np.zeros(2_000, np.int64)])
    with pytest.raises(ValueError, match=r"usage entropy is 0\.02 of its maximum"):
        refuse_collapsed(lopsided, 10)


def test_units_that_a_few_strays_took_are_given_to_others():
    """Without reseeding, each of the twelve strays keeps a unit to itself."""
    frames, _ = blobs(20_000, 32)
    frames[:12] = np.random.default_rng(1).normal(0, 400, (12, 6))
    counts = np.bincount(fit(frames, 32).units_N, minlength=32)
    assert (counts < 20).sum() <= 4


def test_features_without_variety_collapse():
    frames = np.repeat(blobs(num_frames=3)[0], 300, axis=0)
    with pytest.raises(ValueError, match="collapsed"):
        fit(frames, 8)

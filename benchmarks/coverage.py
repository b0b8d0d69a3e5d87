"""How often nominal 95 % intervals hold the truth, in simulated studies of several designs.

An interval that forgets the seeds covers about half of all studies; the report's primary one must
cover 93 to 97 %, also where seeds do not differ at all and where every item is its own cluster.
``--json`` prints the coverage of the primary interval that is furthest from 95 %, the lowest and
the highest.
"""

import argparse
import dataclasses
import json

import numpy as np

from ray_slm.evaluation.intervals import Moments, bootstrap, half_width, moments, percentiles
from ray_slm.evaluation.simulation import Design, Studies, simulate, true_difference

SEED_SDS = (0.0, 0.05, 0.10, 0.20)  # logits
SHAPES = {  # clusters, items of each
    "63 paradigms of 100 pairs": (63, 100),
    "300 stories": (300, 1),
}
SEEDS = (3, 5)
NUM_STUDIES = 4000
NUM_BOOTSTRAPPED = 300
WEIGHTS = (1.0, -1.0)


def covered(found: Moments, truth: float) -> float:
    """Share of t intervals that hold the truth."""
    return float((np.abs(found.estimate - truth) <= half_width(found)).mean())


def one_seed(studies: Studies) -> Moments:
    """Item noise only: the first seed of each side."""
    first = (
        p._replace(sums_SC=p.sums_SC[..., :1, :]) for p in (studies.modality, studies.baseline)
    )
    return moments(list(first), WEIGHTS)


def welch(studies: Studies) -> Moments:
    """Seeds only, items taken as fixed."""
    ours, theirs = studies.modality.accuracy_S, studies.baseline.accuracy_S
    terms = [x.var(-1, ddof=1) / x.shape[-1] for x in (ours, theirs)]
    variance = terms[0] + terms[1]
    df = variance**2 / sum(
        t**2 / (x.shape[-1] - 1) for t, x in zip(terms, (ours, theirs), strict=True)
    )
    return Moments(ours.mean(-1) - theirs.mean(-1), variance, df)


def bootstrapped(studies: Studies, truth: float) -> float:
    """Share of two-way bootstrap intervals that hold the truth."""
    held = []
    for study in range(NUM_BOOTSTRAPPED):
        pair = [p._replace(sums_SC=p.sums_SC[study]) for p in (studies.modality, studies.baseline)]
        accuracies = bootstrap(pair, replicates=500, seed=study)
        low, high = percentiles(accuracies[:, 0] - accuracies[:, 1])
        held.append(low <= truth <= high)
    return float(np.mean(held))


def primary(studies: Studies) -> Moments:
    """Cluster and seed variance, Satterthwaite's degrees of freedom."""
    return moments([studies.modality, studies.baseline], WEIGHTS)


def designs() -> dict[str, Design]:
    """By description."""
    found = {}
    for shape, (clusters, items) in SHAPES.items():
        for seeds in SEEDS:
            for sd in SEED_SDS:
                found[f"{shape}, {seeds} seeds, sd {sd:.2f}"] = dataclasses.replace(
                    Design(),
                    num_clusters=clusters,
                    items_per_cluster=items,
                    num_seeds=seeds,
                    seed_sd=sd,
                )
    return found


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    as_json = parser.parse_args().json
    found = []
    if not as_json:
        print(f"{'design':<46} one seed  Welch  bootstrap  primary")
    for name, design in designs().items():
        studies, truth = simulate(design, NUM_STUDIES, seed=1), true_difference(design)
        found.append(covered(primary(studies), truth))
        if not as_json:
            others = covered(one_seed(studies), truth), covered(welch(studies), truth)
            print(
                f"{name:<46} {others[0]:8.3f} {others[1]:6.3f} "
                f"{bootstrapped(studies, truth):10.3f} {found[-1]:8.3f}"
            )
    figures = {
        "coverage": max(found, key=lambda share: abs(share - 0.95)),
        "coverage_lowest": min(found),
        "coverage_highest": max(found),
    }
    print(json.dumps({"figures": {name: round(share, 4) for name, share in figures.items()}}))


if __name__ == "__main__":
    main()

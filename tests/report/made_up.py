"""Results of studies that never ran, drawn from a seeded generator, for tests of the page.

``made_up`` follows the shape of a real study: curves that saturate, seeds that differ, a control.
"""

import numpy as np
import pandas as pd

from ray_slm.report.columns import COLUMNS
from ray_slm.report.tables import Results

RATES = {
    "text-bpe": (500, 4.5),
    "text-raw": (78, 15.9),
    "phone-bpe": (500, 4.4),
    "phone-raw": (71, 11.1),
    "phone-repeat": (71, 50.0),
    "speech-whisper-tiny-en-l3": (500, 50.0),
}
CEILINGS = {
    "swuggy": (71, 72, 72, 71, 68, 54),
    "sblimp": (66, 65, 66, 65, 58, 55),
    "topic-storycloze": (62, 58, 60, 58, 54, 52),
}
CONTRASTS = (
    ("A", "text-bpe", "phone-bpe"),
    ("A", "text-raw", "phone-raw"),
    ("B", "phone-raw", "phone-repeat"),
    ("C", "phone-repeat", "speech-whisper-tiny-en-l3"),
)
CONVENTIONS = ("mean", "sum", "sum_eos", "mean_eos", "no_first", "per_second")


def nothing_ran() -> Results:
    """A study of which no stage has finished."""
    frames = {name: pd.DataFrame() for name in COLUMNS}
    study = {"name": "empty", "question": "Does an empty study render?", "notice": ""}
    return Results(study=study, made={}, holes=["evaluate/text-bpe/seed-0/1000/swuggy"], **frames)


def made_up(num_seeds: int = 3, num_checkpoints: int = 8, seed: int = 0) -> Results:
    """A whole study with every part present."""
    rng = np.random.default_rng(seed)
    points = _points(rng, num_seeds, num_checkpoints)
    table4 = _table4(points, rng, num_seeds)
    return Results(
        study={
            "name": "laptop",
            "question": "Why are speech language models harder to train than text models?",
            "notice": "Ten hours of four synthetic voices reading six novels; 3M parameters.",
        },
        tokens=_tokens(),
        table4=table4,
        table3=_table3(table4, num_seeds),
        layers=_layers(table4, rng),
        scaling_points=points,
        scaling_fits=_fits(points, num_seeds),
        losses=_losses(points, rng),
        quarantine=_quarantine(rng),
        controls=_controls(rng, num_seeds),
        bands=_bands(rng),
        flips=_flips(rng),
        made={
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "seeds": list(range(num_seeds)),
            "versions": {"python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0"},
            "digests": {"whisper-tiny.en": "1a5afae06a4db91c" * 4},
            "addresses": {f"train/{m}/seed-0": f"{i:012x}" for i, m in enumerate(RATES)},
            "alignment source": "synthesis timings",
            "voices": ["rms", "slt", "awb", "kal16"],
        },
        holes=[],
        sweep=_sweep(),
        **_growth(rng),
        **_trained(points, table4),
        **continued(rng),
    )


def _points(rng, num_seeds, num_checkpoints):
    hours = np.concatenate([[0.0], np.geomspace(0.3, 10.0, num_checkpoints - 1)])
    rows = []
    for task, ceilings in CEILINGS.items():
        for (modality, (_, rate)), ceiling in zip(RATES.items(), ceilings, strict=True):
            for seed in range(num_seeds):
                shift = rng.normal(0, 0.7)
                for hour in hours:
                    learned = (ceiling - 50) * (1 - np.exp(-hour / 3)) + shift * (hour > 0)
                    accuracy = float(np.clip(50 + learned + rng.normal(0, 0.5), 1, 99))
                    tokens = round(hour * 3600 * rate)
                    ends = (accuracy - 2.6, accuracy + 2.6)
                    rows.append((modality, task, seed, tokens, accuracy, *ends))
    return pd.DataFrame(rows, columns=COLUMNS["scaling_points"])


def _table4(points, rng, num_seeds):
    largest = points.groupby(["modality", "seed"])["tokens"].transform("max")
    last = points[points["tokens"] == largest]
    rows = []
    for (modality, task), accuracy in last.groupby(["modality", "task"])["accuracy"].mean().items():
        for convention in CONVENTIONS:
            value = accuracy if convention == "mean" else accuracy + rng.normal(0, 2)
            half = 1.6 if num_seeds > 1 else 2.6
            names = (modality, task, convention, convention == "mean")
            rows.append((*names, value, value - half, value + half, 400, num_seeds))
    return pd.DataFrame(rows, columns=COLUMNS["table4"])


def _table3(table4, num_seeds):
    default = table4[table4["default"]].set_index(["modality", "task"])["accuracy"] / 100
    rows = []
    for factor, baseline, modality in CONTRASTS:
        for task in CEILINGS:
            a, b = default[modality, task], default[baseline, task]
            points, logit = 100 * (a - b), float(np.log(a / (1 - a)) - np.log(b / (1 - b)))
            skill = 100 * (b - a) / (b - 0.5) if b > 0.53 else np.nan
            p = min(1.0, 2 * np.exp(-abs(points)))
            note = "" if num_seeds > 1 else "item noise only"
            figures = (points, points - 2.1, points + 2.1, logit, logit - 0.09, logit + 0.09)
            skills = (skill, skill - 15, skill + 15)
            names, rest = (factor, baseline, modality, task), ("inconclusive", num_seeds, note)
            rows.append((*names, *figures, *skills, p, *rest))
    columns = "factor baseline modality task points low high logit logit_low logit_high skill_lost"
    columns += " skill_low skill_high p_holm tost num_seeds note"
    return pd.DataFrame(rows, columns=columns.split())


def _layers(table4, rng):
    default = table4[table4["default"]]
    rows = []
    for row in default.to_dict(orient="records"):
        for layer in range(7):
            accuracy = 50 + (row["accuracy"] - 50) * (layer / 6) ** 1.5
            accuracy += rng.normal(0, 0.4) * (layer < 6)
            ends = (accuracy - 1.6, accuracy + 1.6)
            rows.append((row["modality"], row["task"], layer, accuracy, *ends))
    return pd.DataFrame(rows, columns=COLUMNS["layers"])


def _fits(points, num_seeds):
    rows = []
    interval = f"over {num_seeds} seeds" if num_seeds > 1 else "within-run"
    for (modality, task), _ in points.groupby(["modality", "task"]):
        for i, form in enumerate(("linear", "log-linear", "logit-linear", "power")):
            slope, error = 6.1 - i, abs(0.4 + 0.3 * ((i + len(modality)) % 4))
            unit = "points per decade of tokens"
            figures = (slope, slope - 1, slope + 1, unit, interval, error)
            rows.append((modality, task, form, *figures, error < 0.5, ""))
    columns = "modality task form slope low high unit interval heldout_error best note"
    return pd.DataFrame(rows, columns=columns.split())


def _losses(points, rng):
    runs = points[points["task"] == "swuggy"]
    rows = []
    for row in runs.to_dict(orient="records"):
        vocab_size, rate = RATES[row["modality"]]
        learned = np.exp(-row["tokens"] / rate / 7200)
        nats = np.log(vocab_size) * (0.35 + 0.65 * learned) + rng.normal(0, 0.01)
        bits = nats / np.log(2) * rate
        rows.append((row["modality"], row["seed"], row["tokens"], "dev", nats, bits))
    return pd.DataFrame(rows, columns=COLUMNS["losses"])


def _tokens():
    rows = []
    for modality, (vocab_size, rate) in RATES.items():
        for split, hours in (("train", 9.83), ("dev", 0.51), ("test", 0.49)):
            seconds = hours * 3600
            sizes = (vocab_size, round(seconds * rate), round(seconds / 6))
            rows.append((modality, split, *sizes, seconds, 3))
    return pd.DataFrame(rows, columns=COLUMNS["tokens"])


def _quarantine(rng):
    reasons = ("ALIGNMENT_FAILED", "AUDIO_TRUNCATED", "TOO_SHORT")
    rows = [
        (
            "corpus/novels",
            f"emma-{i:05d}",
            reasons[int(rng.integers(3))],
            "the second pass gave no phones",
        )
        for i in range(31)
    ]
    rows += [
        ("items/swuggy", f"word-{i:04d}.negative.slt", "TOO_SHORT", "312 samples") for i in range(4)
    ]
    return pd.DataFrame(rows, columns=COLUMNS["quarantine"])


def _controls(rng, num_seeds):
    rows = []
    for name in ("random weights", "shuffled labels"):
        for modality in RATES:
            for task in CEILINGS:
                for seed in range(num_seeds):
                    accuracy = 50 + rng.normal(0, 1)
                    ends = (accuracy - 2.6, accuracy + 2.6)
                    rows.append((name, modality, task, accuracy, *ends, seed))
    for name, value in (("letter 2-gram", 55.0), ("letter 3-gram", 61.2)):
        rows.append((name, "none", "swuggy", value, None, None, None))
    return pd.DataFrame(rows, columns=[*COLUMNS["controls"], "seed"])


def _growth(rng):
    ratios, gaps = [], []
    for *names, task in ((*c, t) for c in CONTRASTS for t in CEILINGS):
        ratio, times = 1 - rng.random() / 2, 1 + 9 * rng.random()
        ratios.append((*names, task, ratio, ratio - 0.2, ratio + 0.2, ""))
        for goal in (55, 60):
            gaps.append((*names, task, goal, times, times / 2, times * 2, "extrapolated"))
    gaps[-1] = (*gaps[-1][:5], np.inf, None, None, "not reached")
    frames = (ratios, "slope_ratios"), (gaps, "gaps")
    return {name: pd.DataFrame(rows, columns=COLUMNS[name]) for rows, name in frames}


def _trained(points, table4):
    """What follows from points and Table 4 by rule, without chance."""
    fits, slopes, reach = [], [], []
    trained = points[points["tokens"] > 0]
    for (modality, task), own in trained.groupby(["modality", "task"]):
        mean = own.groupby("tokens")["accuracy"].mean()
        slope, offset = np.polyfit(np.log10(mean.index.to_numpy(float)), mean.to_numpy(), 1)
        grid = np.geomspace(mean.index.min(), 3 * mean.index.max(), 11)
        for tokens in grid:
            beyond, value = tokens > mean.index.max(), offset + slope * np.log10(tokens)
            fits.append((modality, task, "log-linear", tokens, value, beyond))
        for run, _ in own.groupby("seed"):
            for form, value in (("linear", slope / 40), ("log-linear", slope)):
                slopes.append((modality, task, run, form, value, len(mean)))
        for goal in (55, 60):
            tokens = float(10 ** min((goal - offset) / slope, 14))
            note = "extrapolated" if tokens > mean.index.max() else ""
            reach.append((modality, task, goal, tokens, tokens / 2, 3 * tokens, "over seeds", note))
    default = table4[table4["default"]]
    half = [
        (m, t, 4, a, 50 + (a - 50) / 2, "")
        for m, t, a in default[["modality", "task", "accuracy"]].itertuples(index=False)
    ]
    losses = [
        (m, form, -0.4, -0.5, -0.3, "exponent of the loss", 0.02 + i / 50, i == 0, 12.0, "")
        for m in RATES
        for i, form in enumerate(("power", "log-linear", "linear"))
    ]
    views = [
        (view, *names, task, -4.0, -6.0, -2.0, "")
        for view in ("equal audio", "equal tokens", "equal FLOPs")
        for names in CONTRASTS
        for task in CEILINGS
    ]
    budgets = [(m, 1 / 3600 / rate, 5e6 + 1e4 * rate) for m, (_, rate) in RATES.items()]
    found = {"fit_curves": fits, "seed_slopes": slopes, "reach": reach, "half_skill": half}
    tests = [(task, 100.0, 0.0, 50.0, True) for task in CEILINGS]
    found |= {"self_tests": tests, "loss_fits": losses, "views": views, "budgets": budgets}
    return {n: pd.DataFrame(rows, columns=COLUMNS[n]) for n, rows in found.items()}


def _sweep():
    rows = []
    for modality in ("text-raw", "phone-repeat"):
        nats = ((5e-4, 2.31, "stopped early"), (1.5e-3, 1.702, "best; the study's rate"))
        for rate, loss, note in (*nats, (3e-3, 1.744, ""), (1e9, None, "diverged")):
            ended = loss is not None and not note.startswith("stopped")
            excess = round(loss - 1.702, 4) if ended else None
            tokens = 90_000 if ended else 10_000
            bits = None if loss is None else 20 * loss
            rows.append((modality, rate, tokens, 90_000, loss, bits, excess, note))
    return pd.DataFrame(rows, columns=COLUMNS["sweep"])


def continued(rng, num_prompts=3, num_samples=2):
    """Prompts, samples that are about as likely as their modality allows, and sounds of nothing."""
    prompts, samples = [], []
    for prompt in (f"emma-{i:06d}" for i in range(num_prompts)):
        names = (f"prompt/{prompt}.mp3", f"rest/{prompt}.mp3")
        words = ("The anxieties of common life", "began soon to succeed to alarms.", "rms")
        prompts.append((prompt, *words, *names, "began soon to succeed", 2, 6, 80.0, 60.0))
        for place, modality in enumerate(RATES):
            for kind, number in [("recorded", 0), *(("generated", k) for k in range(num_samples))]:
                scale = 4.0 if kind == "recorded" else 5.0
                perplexity = float(np.exp(scale + 0.3 * place + rng.normal(0, 0.5)))
                sound = f"{modality}/{prompt}.{kind}-{number}.mp3"
                row = (prompt, modality, 0, kind, number, "was in the habit of", perplexity)
                samples.append((*row, 2.5, place == 5, number == 0, sound))
    frames = {"prompts": prompts, "samples": samples}
    found = {n: pd.DataFrame(rows, columns=COLUMNS[n]) for n, rows in frames.items()}
    clips = {n: b"\xff\xf3" + n.encode() for n in found["samples"]["audio"]}
    clips |= {n: b"\xff\xf3" + n.encode() for n in found["prompts"]["audio"]}
    return {**found, **_perplexities(found["samples"]), "clips": clips}


def _perplexities(samples):
    rows, ratios = [], []
    logs = np.log(samples["perplexity"]).groupby([samples["modality"], samples["kind"]]).mean()
    for modality in RATES:
        value, real = (float(np.exp(logs[modality, k])) for k in ("generated", "recorded"))
        spread = (value, value / 1.4, value * 1.4, value * 1.2, value / 2, value * 0.9, real, 12.5)
        others = (value * 0.8, value * 0.7 if modality.startswith("text") else np.nan)
        rows.append((modality, *spread, 24, 6, 0, 2, 3, "item noise only", *others))
    for names in CONTRASTS:
        ratio = float(np.exp(logs[names[2], "generated"] - logs[names[1], "generated"]))
        ratios.append((*names, ratio, ratio / 1.5, ratio * 1.5, 3, "item noise only"))
    columns = [*COLUMNS["continuation"], "whole", "own_text"]
    contrasts = pd.DataFrame(ratios, columns=COLUMNS["continuation_contrasts"])
    return {
        "continuation": pd.DataFrame(rows, columns=columns),
        "continuation_contrasts": contrasts,
    }


def _bands(rng):
    rows = []
    for modality in RATES:
        for band, rise in (("1-5", 0), ("6-20", 4), ("21-100", 8), (">100", 12)):
            accuracy = 55 + rise + rng.normal(0, 1)
            rows.append((modality, band, accuracy, accuracy - 4, accuracy + 4, 100))
    return pd.DataFrame(rows, columns=[*COLUMNS["bands"], "num_pairs"])


def _flips(rng):
    rows = []
    for modality in RATES:
        for task in CEILINGS:
            for convention in CONVENTIONS[1:]:
                flipped = int(rng.integers(10, 160))
                rows.append((modality, task, convention, flipped, 400, flipped / 4))
    return pd.DataFrame(rows, columns=COLUMNS["flips"])

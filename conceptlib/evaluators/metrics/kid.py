"""KID, kernel inception distance (Binkowski et al., ICLR 2018, arXiv 1801.01401): how far two sets of pictures are
apart, without bias.

KID is the squared maximum mean discrepancy of two sets of features under the cubic kernel k(x, y) = (x.y / d + 1)^3,
d the features' width. Its estimate may be below zero when the sets are alike. It is averaged over random subsets,
whose standard deviation is given.

A figure depends on the network the features come from, so a score always names it and its weights' hash;
`conceptlib.evaluators.features` has the networks. Ours is not the Inception network of the paper: compare figures
only where the extractor is the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Inputs, Metric, Prompts, Score, Skip, reference_images
from conceptlib.specs.params import Params as BaseParams
from conceptlib.stats import Estimate

METRIC = Metric("kid", "distance", higher_is_better=False, interval="std", needs=("images", "reference_images"))


class Params(BaseParams):
    """What is compared with what, by which network.

    against: `clean` images that the prompt source gives, or the `base`'s images of the same captions and seeds, as
        pairs. rows: `all`, or the `others` than the target's. features: the network: `tiny`, a Hub id or a folder;
        `auto` takes the one that belongs to the prompts, and leaves KID out where there is none. subsets, subset_size:
        see `kid`.
    """

    against: Literal["clean", "base"] = "clean"
    rows: Literal["all", "others"] = "all"
    features: str = "auto"
    subsets: Annotated[int, Field(ge=1, le=100_000)] = 100
    subset_size: Annotated[int, Field(ge=2, le=100_000)] = 256


def needs(params: Params) -> tuple[str, ...]:
    """Images, and what they are compared with."""
    return ("images", "base_images") if params.against == "base" else METRIC.needs


def network(params: Params, prompts: Prompts) -> str:
    """The name of the network; "" where there is none."""
    return prompts.features if params.features == "auto" else params.features


def lock(params: Params, prompts: Prompts) -> dict[str, Any]:
    """The network by name and hash."""
    from conceptlib.evaluators.features import network_lock

    name = network(params, prompts)
    return network_lock(name) if name else {}


def compute(inputs: Inputs, params: Params) -> list[Score]:
    """KID of the subject to the clean images, or to the base's."""
    from conceptlib.evaluators.features import load_extractor

    name = network(params, inputs.prompts)
    if not name:
        raise Skip("no network to compare real pictures by: name one, such as features=facebook/dinov2-small")
    extractor = inputs.once(f"extractor {name}", lambda: load_extractor(name, inputs.device))
    kept = ~inputs.target if params.rows == "others" else np.ones(len(inputs.prompts.rows), bool)
    paired = params.against == "base"
    settings: dict[str, Any] = {"subsets": params.subsets, "subset_size": params.subset_size, "seed": inputs.seed}

    def reference() -> np.ndarray:
        if inputs.base is not None and paired:
            return np.asarray(extractor.features(inputs.base.images())[kept])
        return extractor.features(reference_images(inputs.prompts, len(inputs.prompts.rows)))

    known = inputs.once(f"features of {params.against}, {params.rows}, {name}", reference)
    scale = feature_scale(known)
    own = extractor.features(inputs.images())[kept]
    estimate = kid(own / scale, known / scale, paired=paired, **settings)
    about = {"reference": "base" if paired else len(known), "scale": round(scale, 6), **extractor.lock()}
    return [Score("kid", estimate, about)]


def polynomial_mmd2(x: np.ndarray, y: np.ndarray, *, paired: bool = False) -> float:
    """Unbiased squared MMD of two samples under the cubic kernel (the paper's eq. 4).

    MMD2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

    Libraries (torchmetrics, torch-fidelity, clean-fid) have the unpaired form alone; the paired one is why this is
    written here.

    Where x_i and y_i show the same caption from the same noise they are not independent, and k(x_i, y_i) in the last
    mean would make alike models look nearer than equal. Paired, that mean is over i != j as well: the U-statistic of
    Gretton et al. (JMLR 2012, eq. 4), which is unbiased for pairs, and exactly 0 for equal sets.

    Args:
        x, y: features (m, d) and (n, d), m and n at least 2.
        paired: whether row i of x belongs to row i of y; m = n then.

    Raises:
        ConceptlibError: fewer than two rows, different widths, or pairs that lack a partner.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1] or (paired and len(x) != len(y)):
        raise ConceptlibError(f"KID needs two or more rows of one width, not {x.shape} and {y.shape}")
    m, n, d = len(x), len(y), x.shape[1]
    kxx, kyy, kxy = ((a @ b.T / d + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within_x = (kxx.sum() - np.trace(kxx)) / (m * (m - 1))
    within_y = (kyy.sum() - np.trace(kyy)) / (n * (n - 1))
    across = (kxy.sum() - np.trace(kxy)) / (m * (m - 1)) if paired else kxy.mean()
    return float(within_x + within_y - 2.0 * across)


def feature_scale(reference: np.ndarray) -> float:
    """Root mean square of the reference's features: divided by it, KID does not depend on the network's output scale.

    Inception's features are of order 1, where the kernel's terms weigh alike; another network's may be ten times as
    large, and the cube of the largest few would be all that is measured.

    Args:
        reference: features (n, d).

    Raises:
        ConceptlibError: they are all zero.
    """
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    if scale == 0:
        raise ConceptlibError("all features of the reference are zero", hint="take another network: features=ID")
    return scale


def kid(
    features: np.ndarray,
    reference: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 256,
    seed: int = 0,
    paired: bool = False,
) -> Estimate:
    """Mean of `polynomial_mmd2` over random subsets, with their standard deviation as the interval.

    Args:
        features, reference: (m, d) and (n, d) floats.
        subsets: how many subsets, 1 or more.
        subset_size: images a subset, drawn without replacement; at most half of the smaller set is taken, so that
            subsets differ.
        seed: decides the subsets.
        paired: see `polynomial_mmd2`; a subset then holds whole pairs.

    Returns:
        value = mean, low and high = one standard deviation of the subsets below and above; n = number of `features`.

    Raises:
        ConceptlibError: fewer than 4 images in either set.
    """
    smaller = min(len(features), len(reference))
    if smaller < 4:
        raise ConceptlibError(
            f"KID of {len(features)} against {len(reference)} images", hint="use at least 4 of each (n=4)"
        )
    size = min(subset_size, smaller // 2)
    rng = np.random.default_rng(np.random.SeedSequence([seed, size]))
    values = []
    for _ in range(subsets):
        rows = rng.choice(len(features), size, replace=False)
        others = rows if paired else rng.choice(len(reference), size, replace=False)
        values.append(polynomial_mmd2(features[rows], reference[others], paired=paired))
    centre, spread = float(np.mean(values)), float(np.std(values))
    return Estimate(centre, centre - spread, centre + spread, len(features), "std")

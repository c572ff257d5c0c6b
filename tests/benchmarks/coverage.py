"""How often a 95 % interval holds the truth: of every metric of scores, of probabilities and of many classes."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.coverage_cases import cases


def coverage(simulations: int) -> None:
    """Prints the share of samples whose interval holds the population's value, case by case and then by metric."""
    by_metric: dict[str, list[float]] = defaultdict(list)
    for case in cases():
        share = case.covered(simulations)
        by_metric[case.metric].append(share)
        print(f"coverage {share:.4f}  {case} (truth {case.truth:.4g})", flush=True)
    for metric, shares in by_metric.items():
        print(
            f"{metric}: {simulations:,} samples of each of {len(shares)} cases of 100 to 1,000 rows: "
            f"covered {min(shares):.1%} to {max(shares):.1%}"
        )

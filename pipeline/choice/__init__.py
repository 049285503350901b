"""Which epoch: rules that read fold curves after training and cost nothing.

`rule.choose(curves, horizon) -> EpochChoice`. One rule per file; `RULES` names them all.
"""

from __future__ import annotations

from pipeline.choice.best import BestOfMean
from pipeline.choice.one_standard_error import OneStandardError
from pipeline.choice.types import EpochChoice, Rule

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (BestOfMean, OneStandardError)}

__all__ = ["RULES", "BestOfMean", "EpochChoice", "OneStandardError", "Rule"]

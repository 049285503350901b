"""Which epoch: rules that read fold curves after training and cost nothing.

`rule.choose(curves, horizon) -> EpochChoice`. One rule per file; `RULES` names them all, and
`rule_named("fixed(n_epochs=40)")` makes one from text.
"""

from __future__ import annotations

import ast

from pipeline.choice.best import BestOfMean
from pipeline.choice.early_stopping import PatientBest
from pipeline.choice.fixed import Fixed
from pipeline.choice.grid import Grid
from pipeline.choice.median_of_fold_bests import MedianOfFoldBests
from pipeline.choice.one_standard_error import OneStandardError
from pipeline.choice.paired_one_standard_error import PairedOneStandardError
from pipeline.choice.plateau import Plateau
from pipeline.choice.smoothed import SmoothedMean
from pipeline.choice.types import EpochChoice, Rule
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, unknown_name

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        BestOfMean,
        SmoothedMean,
        OneStandardError,
        PairedOneStandardError,
        PatientBest,
        Plateau,
        Fixed,
        Grid,
        MedianOfFoldBests,
    )
}


def rule_named(text: str) -> Rule:
    """Return the rule that a text names: "best", "fixed(n_epochs=40)", "grid(counts=(10, 20))".

    Raises BadInput for a name or an argument that no rule has.
    """
    name, _, rest = text.partition("(")
    if name not in RULES:
        raise unknown_name("rule", name, RULES)
    try:
        call = ast.parse(f"rule({rest}" if rest else "rule()", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("arguments are given by name")
        arguments = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        return RULES[name](**arguments)
    except BadInput:
        raise
    except (SyntaxError, TypeError, ValueError) as error:
        raise BadInput(
            f"rule must be a name with its arguments, such as fixed(n_epochs=40), got {text!r}: "
            f"{error}"
        ) from error


def choices_of_all_rules(curves: FoldCurves, horizon: int) -> dict[str, EpochChoice | str]:
    """Return what each rule with its defaults chooses, or why it cannot, by name.

    Not `fixed`: a count must be given.
    """
    chosen: dict[str, EpochChoice | str] = {}
    for name in RULES:
        if name == Fixed.name:
            continue
        try:
            chosen[name] = rule_named(name).choose(curves, horizon)
        except BadInput as reason:
            chosen[name] = str(reason)
    return chosen


__all__ = [
    "RULES",
    "BestOfMean",
    "EpochChoice",
    "Fixed",
    "Grid",
    "MedianOfFoldBests",
    "OneStandardError",
    "PairedOneStandardError",
    "PatientBest",
    "Plateau",
    "Rule",
    "SmoothedMean",
    "choices_of_all_rules",
    "rule_named",
]

"""Numbers about outputs: agreement (two implementations of one method), similarity (two methods),
attack audits, and the metrics of explanations: one file and one registration each.
"""

"""Numbers about outputs: agreement (two implementations of one method), similarity (two methods),
attack audits.
"""

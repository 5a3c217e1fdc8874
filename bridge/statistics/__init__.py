"""What many images say together: intervals, paired tests, worst cases. Frames in, frames out.

scipy and statsmodels compute; nothing here names a method, and nothing here runs a model.
"""

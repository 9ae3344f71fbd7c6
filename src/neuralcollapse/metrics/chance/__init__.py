"""Chance: the value of each metric for features, or rows of a head, that know nothing of classes.

Features are independent and of one variance in each direction; correlated ones have larger values.
With v_k = 1/n_k the class means then have the covariance V = diag(v) between classes, and CVC about
their mean, C = I - 11^T/K. What is random is written as a ratio of chi-squares, or as the angle of
a random direction; both have quantiles in closed form.
"""

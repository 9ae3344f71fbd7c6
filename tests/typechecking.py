"""The run-time type checker of the test run: beartype, with an int accepted for a float."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))

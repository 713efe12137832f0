"""Tuning without test images: search a detector's space by synthetic lesions on healthy validation images.

The tuner sees healthy images alone (`development.py`) and draws lesions of several kinds on one half of the validation
images (`synthetic.py`); the other half is what `fit` calls validation. Trials share what they have in common
(`storage/kept.py`), and a study may be worked on by several processes (`studies.py`, `workers.py`). What was found is
used by `adbench run --tuned` (`tuned.py`) and shown by `adbench tune --report` (`report.py`).
"""

"""Every error that Sweepstack raises on purpose, as one tree.

    SweepstackError            exit code 1: something outside the user's input failed
    ├── StorageError           disk full, no permission, a run folder that is in use or damaged
    ├── TrackingError          the MLflow store refuses
    │   └── TrackingRefusal    and would again: its address, permissions or schema have to be mended first
    ├── TrainingError          a trial cannot go on (its loss is not a number, say)
    ├── DamagedError           a file of a run is not what was written: a bit of it has changed, or its end is missing
    │   └── NoJSONError        one that is JSON no more
    └── InputError             exit code 2: the user's input is wrong, and the message says how to mend it
        ├── StudyError         a study file, or a value given by --set
        ├── DataError          a data file
        └── BundleError        a bundle that is incomplete, changed or of another version

A message is one line: what is wrong, where, the value received, and what to do.
"""


class SweepstackError(Exception):
    exit_code = 1


class StorageError(SweepstackError):
    pass


class TrackingError(SweepstackError):
    pass


class TrackingRefusal(TrackingError):
    pass


class TrainingError(SweepstackError):
    pass


class DamagedError(SweepstackError):
    pass


class NoJSONError(DamagedError, ValueError):
    pass


class InputError(SweepstackError):
    exit_code = 2


class StudyError(InputError):
    pass


class DataError(InputError):
    pass


class BundleError(InputError):
    pass

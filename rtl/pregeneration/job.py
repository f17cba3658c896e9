"""Jobs of pre-generation: a weight to update, and the forms that are made of it."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.kernels.optimizer import Sgd
from nofm.rtl.fields import pack
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.sore.job import job_fields as sore_fields
from nofm.rtl.wuve.job import HYPER_PARAMETERS, hyper_parameters


def job_fields(geometry: Geometry) -> dict[str, int]:
    """Fields of a job's word and their widths. Counts are one less than what they count.

    both: whether both forms are made, or the one with groups along the rows' direction.
    last_entry: N - 1.
    last_index: M - 1.
    last_row: rows of the last row group of a tap, - 1.
    taps, groups, slots: taps; row groups of a tap; column slots of a row group; each - 1.
    last_columns: columns of the last column slot.
    step: columns of a column slot, modulo M.
    last_part: where a beat may take several cycles: how many, - 1.
    learning_rate: FP32 bits of lr.
    momentum: FP32 bits of mu.
    weight_decay: FP32 bits of wd.
    """
    return sore_fields(geometry.sore) | HYPER_PARAMETERS


@dataclass(frozen=True, kw_only=True)
class PregenerationJob:
    """Update a weight's parameters, and prune it to N of every M.

    Attributes:
        pruning: the matrix, and its forms.
        by: the hyper-parameters.
    """

    pruning: SoreJob
    by: Sgd

    def encode(self, geometry: Geometry) -> int:
        """The packed word of the job.

        Raises:
            InputError: SORE does not do such a job.
        """
        values = self.pruning.fields(geometry.sore) | hyper_parameters(self.by)
        return pack(job_fields(geometry), values)

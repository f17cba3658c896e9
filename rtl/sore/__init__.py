"""SORE, the top-N pruner: streaming sorters that turn dense matrices into N:M ones."""

from nofm.rtl.sore.engine import Sore
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob, job_fields

__all__ = ["Geometry", "Sore", "SoreJob", "job_fields"]

"""WUVE, the optimizer engine: SGD with momentum, one parameter a lane and cycle."""

from nofm.rtl.wuve.engine import Wuve
from nofm.rtl.wuve.geometry import Geometry
from nofm.rtl.wuve.job import WuveJob, job_fields

__all__ = ["Geometry", "Wuve", "WuveJob", "job_fields"]

"""Pre-generation: WUVE's lanes before SORE's, so that new weights leave as N:M ones as well."""

from nofm.rtl.pregeneration.engine import Pregeneration
from nofm.rtl.pregeneration.geometry import Geometry
from nofm.rtl.pregeneration.job import PregenerationJob, job_fields

__all__ = ["Geometry", "Pregeneration", "PregenerationJob", "job_fields"]

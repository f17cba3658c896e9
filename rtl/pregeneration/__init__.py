"""Pre-generation: WUVE's lanes before SORE's, so that new weights leave as N:M ones as well."""

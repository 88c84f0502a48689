"""Why a run does not learn: its curve, its settings and its data, held against what makes trainings stay flat."""

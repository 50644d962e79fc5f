"""Figures of merit: functions of arrays that know no model."""

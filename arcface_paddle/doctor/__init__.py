"""The dataset doctor: reads a dataset whole, lists what is wrong with it, writes a cleaned label file.

``examine`` gives a ``Report``; ``report_text``, ``report_document`` (JSON) and ``write_report_page`` (HTML) show it,
``write_cleaned`` and ``copy_rejected`` act on it. The recogniser, if any, is passed in as a function.
"""

from __future__ import annotations

from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.document import report_document
from arcface_paddle.doctor.examine import Report, examine
from arcface_paddle.doctor.findings import KINDS, Finding, Kind
from arcface_paddle.doctor.fix import CleanResult, copy_rejected, write_cleaned
from arcface_paddle.doctor.page import write_report_page
from arcface_paddle.doctor.text import report_text

__all__ = [
    "KINDS",
    "CleanResult",
    "DoctorSettings",
    "Finding",
    "Kind",
    "Report",
    "copy_rejected",
    "examine",
    "report_document",
    "report_text",
    "write_cleaned",
    "write_report_page",
]

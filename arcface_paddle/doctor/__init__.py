"""The dataset doctor: reads a dataset whole, lists what is wrong with it, writes a cleaned label file.

``examine`` gives a ``Report``; ``report_text``, ``report_document`` (JSON) and ``write_report_page`` (HTML) show it,
``write_cleaned`` and ``copy_rejected`` act on it. The recogniser, if any, is passed in as a function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arcface_paddle.lazy_names import loader_of

if TYPE_CHECKING:  # the names for editors and type checkers; they are loaded on first use
    from arcface_paddle.doctor.doctor_settings import DoctorSettings as DoctorSettings
    from arcface_paddle.doctor.document import report_document as report_document
    from arcface_paddle.doctor.examination import Report as Report
    from arcface_paddle.doctor.examination import examine as examine
    from arcface_paddle.doctor.findings import KINDS as KINDS
    from arcface_paddle.doctor.findings import Finding as Finding
    from arcface_paddle.doctor.findings import Kind as Kind
    from arcface_paddle.doctor.fix import CleanResult as CleanResult
    from arcface_paddle.doctor.fix import copy_rejected as copy_rejected
    from arcface_paddle.doctor.fix import write_cleaned as write_cleaned
    from arcface_paddle.doctor.page import write_report_page as write_report_page
    from arcface_paddle.doctor.text import report_text as report_text

_HOME_OF_NAME = {
    "CleanResult": "arcface_paddle.doctor.fix",
    "DoctorSettings": "arcface_paddle.doctor.doctor_settings",
    "Finding": "arcface_paddle.doctor.findings",
    "KINDS": "arcface_paddle.doctor.findings",
    "Kind": "arcface_paddle.doctor.findings",
    "Report": "arcface_paddle.doctor.examination",
    "copy_rejected": "arcface_paddle.doctor.fix",
    "examine": "arcface_paddle.doctor.examination",
    "report_document": "arcface_paddle.doctor.document",
    "report_text": "arcface_paddle.doctor.text",
    "write_cleaned": "arcface_paddle.doctor.fix",
    "write_report_page": "arcface_paddle.doctor.page",
}

__all__ = sorted(_HOME_OF_NAME)
__getattr__ = loader_of(__name__, _HOME_OF_NAME)


def __dir__() -> list[str]:
    return __all__

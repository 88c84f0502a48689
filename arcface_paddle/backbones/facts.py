"""How large every network is, counted, beside what others have published of it.

The figures are those of the default embedding size, width 1 and one 112x112 picture: trainable values, and
multiplications with weights in convolutions and matrix products; those of attention, without weights, are left out.
``tests/backbones/test_facts.py`` counts them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional


@dataclass(frozen=True)
class Published:
    """What somebody else states.

    Attributes:
        parameters: millions.
        multiply_adds: thousands of millions.
        of: what was counted, where it is not this very network, and who says so.
    """

    parameters: float
    multiply_adds: float
    of: str


@dataclass(frozen=True)
class BackboneFacts:
    """Size of a network.

    Attributes:
        parameters: trainable values.
        multiply_adds: multiplications of one forward pass.
        origin: whose network it is.
        published: figures of others; None = none are known.
    """

    parameters: int
    multiply_adds: int
    origin: str
    published: Optional[Published] = None


_MODEL_ZOO = "Open Model Zoo, whose GFLOPs are twice the multiply-adds"
_CLASSIFIER = "trunk and 1000 classes at 224x224, torchvision"
_EVOLVE = "face.evoLVe"
_ARCFACE = "ArcFace, §3.2.2"

FACTS: Mapping[str, BackboneFacts] = {
    "MobileFaceNet_128": BackboneFacts(
        1_003_136, 220_965_376, "MobileFaceNets, table 1", Published(0.99, 0.221, "the paper")
    ),
    "MobileFaceNet_192": BackboneFacts(1_036_032, 220_998_144, "the shipped recogniser"),
    "MobileNetV2": BackboneFacts(12_713_728, 91_389_568, "arcface-tf2", Published(3.50, 0.33, _CLASSIFIER)),
    "MobileNetV3_large": BackboneFacts(10_839_728, 66_041_160, "facerec", Published(5.48, 0.23, _CLASSIFIER)),
    "MobileNetV3_small": BackboneFacts(5_648_288, 20_062_280, "facerec", Published(2.54, 0.06, _CLASSIFIER)),
    "LightNet": BackboneFacts(42_910_930, 5_553_529_856, "facerec"),
    "HRNetV2_W18": BackboneFacts(
        9_738_484,
        3_378_873_264,
        "yinguobing/arcface",
        Published(9.3, 4.3, "landmarks at 256x256, branches from 64x64, HRNet-Facial-Landmark-Detection"),
    ),
    "ResNet50": BackboneFacts(40_290_880, 1_092_628_480, "arcface-tf2", Published(25.56, 4.13, _CLASSIFIER)),
    "ResNet101": BackboneFacts(59_283_008, 2_020_683_776, _EVOLVE, Published(44.55, 7.87, _CLASSIFIER)),
    "ResNet152": BackboneFacts(74_926_656, 2_948_739_072, _EVOLVE, Published(60.19, 11.60, _CLASSIFIER)),
    "IR_50": BackboneFacts(43_574_976, 6_296_485_888, _EVOLVE),
    "IR_101": BackboneFacts(65_129_792, 12_076_761_088, _EVOLVE),
    "IR_152": BackboneFacts(70_737_600, 12_307_972_096, _EVOLVE),
    "IR_SE_50": BackboneFacts(43_797_696, 6_296_708_608, _EVOLVE),
    "IR_SE_101": BackboneFacts(65_502_016, 12_077_133_312, _EVOLVE),
    "IR_SE_152": BackboneFacts(71_148_736, 12_308_383_232, _EVOLVE),
    "iresnet18": BackboneFacts(24_025_600, 2_609_954_816, _ARCFACE),
    "iresnet34": BackboneFacts(34_139_328, 4_459_642_880, _ARCFACE, Published(34.129, 4.467, _MODEL_ZOO)),
    "iresnet50": BackboneFacts(43_590_848, 6_309_330_944, _ARCFACE),
    "iresnet100": BackboneFacts(65_156_160, 12_089_606_144, _ARCFACE, Published(65.131, 12.1045, _MODEL_ZOO)),
    "iresnet200": BackboneFacts(118_833_920, 23_418_945_536, _ARCFACE),
    "mbf": BackboneFacts(2_059_520, 437_520_896, "arcface_torch"),
    "mbf_large": BackboneFacts(6_314_880, 1_816_482_816, "arcface_torch"),
    "vit_t": BackboneFacts(19_137_536, 1_377_480_704, "arcface_torch"),
    "vit_s": BackboneFacts(76_022_784, 5_491_744_768, "arcface_torch"),
    "vit_b": BackboneFacts(113_832_960, 10_927_562_752, "arcface_torch"),
    "EdgeFace_XS": BackboneFacts(
        1_770_492, 76_080_916, "EdgeFace", Published(1.77, 0.077, "the paper: 154 M operations")
    ),
    "EdgeFace_S": BackboneFacts(
        3_652_520, 151_924_688, "EdgeFace", Published(3.65, 0.153, "the paper: 306 M operations")
    ),
    "FaceLiVT_S": BackboneFacts(
        5_069_136,
        2_449_701_920,
        "FaceLiVT, while it trains",
        Published(5.05, 0.160, "merged for use; ours merged 0.157"),
    ),
    "FaceLiVTv2_S": BackboneFacts(
        4_646_560,
        380_471_488,
        "FaceLiVTv2, while it trains",
        Published(4.62, 0.179, "merged for use; ours merged 0.176"),
    ),
}

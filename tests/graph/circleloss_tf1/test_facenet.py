"""Center loss, norm penalty, schedule file and training step against numpy."""
from __future__ import annotations

import numpy as np
import pytest

from circleloss_tf1 import facenet
from common.errors import ZooError
from common.graph.compat import enable, tf

enable()


def evaluate(make):
    with tf.Graph().as_default(), tf.Session() as session:
        tensor = make()
        session.run(tf.global_variables_initializer())
        return session.run(tensor)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_prelogits_norm(order):
    prelogits = np.random.RandomState(0).randn(5, 4).astype(np.float32)
    wanted = np.mean([sum((abs(float(x)) + 1e-4) ** order for x in row) ** (1 / order) for row in prelogits])
    assert evaluate(lambda: facenet.prelogits_norm(tf.constant(prelogits), order)) == pytest.approx(wanted, rel=1e-5)


def test_l2_normalise():
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [1e-7, 0.0]], np.float32)
    wanted = [[0.6, 0.8], [0.0, 0.0], [1e-7 / 1e-5, 0.0]]
    np.testing.assert_allclose(evaluate(lambda: facenet.l2_normalise(tf.constant(rows))), wanted, rtol=1e-5)


def test_center_loss_and_its_centers_with_a_class_twice():
    prelogits, labels = np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 5.0]], np.float32), np.array([1, 1, 0], np.int32)
    centers = np.array([[1.0, 1.0], [0.0, 2.0], [7.0, 7.0]], np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable("centers", initializer=tf.constant(centers))
        old = variable.read_value()
        loss = facenet.center_loss(tf.constant(prelogits), tf.constant(labels), old)
        update = facenet.update_centers(variable, old, tf.constant(prelogits), tf.constant(labels), 0.9)
        session.run(tf.global_variables_initializer())
        assert session.run(loss) == pytest.approx((1 + 0 + 9 + 4 + 16 + 16) / 6)
        session.run(update)
        # both samples of class 1 add up, taken from the old center: (1, 0) + (3, -2), a tenth of it
        np.testing.assert_allclose(session.run(variable), [[1.4, 1.4], [0.4, 1.8], [7.0, 7.0]], rtol=1e-6)


def write(tmp_path, text):
    path = tmp_path / "schedule.txt"
    path.write_text(text)
    return str(path)


def test_schedule(tmp_path):
    schedule = facenet.Schedule(write(tmp_path, "# rates\n0: 0.1\n\n5:0.01 # lower\n 8 : 1e-3\n10: -\n"))
    assert [schedule.rate(epoch) for epoch in (0, 4, 5, 7, 8, 9)] == [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3]
    assert schedule.rate(10) is None and schedule.rate(1000) is None
    assert facenet.Schedule(write(tmp_path, "0: 0.1\n900: 0.0001\n")).rate(10 ** 6) == 0.0001
    assert facenet.Schedule(write(tmp_path, "0: 0.1\n3:-1\n")).rate(3) is None


@pytest.mark.parametrize("text, message", [
    ("0: 0.1\nfive: 0.1\n", "line 2 is 'five: 0.1'"), ("0: fast\n", "line 1"), ("3: 0.1\n", "no line for epoch 0"),
    ("", "no line for epoch 0"), ("0: nan\n", "line 1"), ("0 0.1\n", "line 1"),
    ("0: -\n", "ends the training at epoch 0"),
])
def test_bad_schedules_are_refused(tmp_path, text, message):
    with pytest.raises(ZooError, match=message):
        facenet.Schedule(write(tmp_path, text))


def test_missing_schedule():
    with pytest.raises(ZooError, match="/no/such: cannot be read"):
        facenet.Schedule("/no/such")


def test_averages_take_the_weights_and_the_step_from_before_the_update():
    """Decay min(0.9999, (1 + step) / (10 + step)) with step 0, 1, 2; gradient descent on w."""
    with tf.Graph().as_default(), tf.Session() as session:
        global_step = tf.get_variable("Variable", [], tf.int32, tf.zeros_initializer(), trainable=False)
        weight = tf.get_variable("w", [], initializer=tf.constant_initializer(2.0))
        step = facenet.training_step(tf.square(weight), [], tf.constant(0.25), global_step,
                                     facenet.StepSettings("GD", 100, 0.1, 0.9999))
        session.run(tf.global_variables_initializer())
        value, average = 2.0, 2.0
        for number in range(3):
            decay = (1.0 + number) / (10.0 + number)
            average = decay * average + (1 - decay) * value
            value -= 0.25 * 2 * value
            assert session.run([step.train_op, step.global_step])[1] == number + 1
            found = session.run([weight, step.averages.average(weight)])
            np.testing.assert_allclose(found, [value, average], rtol=1e-6)


def test_rate_decays_in_stairs():
    with tf.Graph().as_default(), tf.Session() as session:
        global_step = tf.get_variable("Variable", [], tf.int32, tf.zeros_initializer(), trainable=False)
        weight = tf.get_variable("w", [], initializer=tf.constant_initializer(1.0))
        step = facenet.training_step(tf.square(weight), [], tf.constant(0.1), global_step,
                                     facenet.StepSettings("GD", 2, 0.5, 0.99))
        session.run(tf.global_variables_initializer())
        rates = [session.run([step.learning_rate, step.train_op])[0] for _ in range(5)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05, 0.05, 0.025], rtol=1e-6)


def test_flags_and_optimisers_have_the_same_names():
    from circleloss_tf1.models.resnet import ARCHITECTURES
    from circleloss_tf1.recipe import MODEL_DEFS
    from circleloss_tf1.train_acc import OPTIMIZERS

    assert set(OPTIMIZERS) == set(facenet.OPTIMIZERS) and set(MODEL_DEFS) == set(ARCHITECTURES)

"""npu_bridge for TensorFlow 2: without what needs tf.contrib, such as NPULossScaleOptimizer."""

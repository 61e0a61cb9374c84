"""The settings of a run for TensorBoard's hparams tab, in the format of its plugin."""
from __future__ import annotations

import time
from typing import Any

from common.run import metrics
from common.run.run_dir import TIME_FORMAT, is_run, read_arguments

_PLUGIN = "hparams"
_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"
_SUCCESS = 1  # tensorboard.plugins.hparams.api_pb2.STATUS_SUCCESS


def started(run_path: str, v1: Any) -> list[Any]:
    """Return the settings that identify a run as values of a summary; none without tensorboard, or outside of a run.

    Args:
        run_path: the run directory.
        v1: TensorFlow's version 1 API.
    """
    plugin_data_pb2 = _protocol()
    if plugin_data_pb2 is None or not is_run(run_path):
        return []
    arguments = read_arguments(run_path)
    start = plugin_data_pb2.SessionStartInfo(
        start_time_secs=time.mktime(time.strptime(arguments["started"], TIME_FORMAT)))
    for name, value in dict(arguments["identity"], num_updates=arguments["num_updates"]).items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif metrics.is_number(value):
            start.hparams[name].number_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
    return _values(v1, _START, plugin_data_pb2.HParamsPluginData(session_start_info=start))


def finished(v1: Any) -> list[Any]:
    """Return the end of a run as values of a summary; none without tensorboard."""
    plugin_data_pb2 = _protocol()
    if plugin_data_pb2 is None:
        return []
    end = plugin_data_pb2.SessionEndInfo(status=_SUCCESS, end_time_secs=time.time())
    return _values(v1, _END, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _protocol() -> Any:
    """Return the messages of the plugin; None without tensorboard, which is what would show them."""
    try:
        from tensorboard.plugins.hparams import plugin_data_pb2
    except ImportError:
        return None
    return plugin_data_pb2


def _values(v1: Any, tag: str, content: Any) -> list[Any]:
    value = v1.Summary.Value(tag=tag)
    value.metadata.plugin_data.plugin_name = _PLUGIN
    value.metadata.plugin_data.content = content.SerializeToString()
    return [value]

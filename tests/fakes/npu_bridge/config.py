"""The configuration of Estimators; what a version knows shows in its arguments."""
import inspect

import adapter_schema


class NPURunConfig:
    """Estimators are not faked."""

    def __init__(self, **options):
        raise NotImplementedError(f"an Estimator with {sorted(options)}")

    __init__.__signature__ = inspect.Signature([
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in ("self", *sorted(adapter_schema.session_keys(adapter_schema.version())))])

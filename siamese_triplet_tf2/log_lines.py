"""The lines and files of the original, and other lines about an evaluation."""
from __future__ import annotations

from typing import Any, Mapping


def time_history(first: int, last: int, batch_size: int, seconds: float) -> str:
    """Return the line about the steps from `first` to `last`, printed every 50 steps. An example is a triplet."""
    rate = batch_size * (last - first) / seconds if seconds else float("inf")
    return f"TimeHistory: {seconds:.2f} seconds, {rate:.2f} examples/second between steps {first} and {last}"


def epoch_lines(row: Mapping[str, Any], num_epochs: int) -> list[str]:
    """Return the lines that Keras 2 prints for an epoch, which users' scripts know. Those of Keras 3 differ."""
    steps = row["steps_per_epoch"]
    return [f"Epoch {row['epoch']}/{num_epochs}",
            f"{steps}/{steps} - {row['epoch_seconds']:.0f}s - loss: {row['train_loss']:.4f} - val_loss: "
            f"{row['valid_loss']:.4f}"]


def metric_line(row: Mapping[str, Any]) -> str:
    """Return the line of the metrics that the original does not have."""
    return (f"triplet_accuracy: {row['triplet_accuracy']:.4f} , recall@1: {row['cosine_recall_at_1']:.4f} , recall@5: "
            f"{row['cosine_recall_at_5']:.4f} , recall@10: {row['cosine_recall_at_10']:.4f} , median_rank: "
            f"{row['cosine_median_rank']:.1f} , positive_similarity: {row['positive_similarity']:.4f} , "
            f"negative_similarity: {row['negative_similarity']:.4f}")


def has_collapsed(row: Mapping[str, Any]) -> bool:
    """Return whether all images have nearly the same embedding, with similarities that are printed as 1.0000."""
    return min(row["positive_similarity"], row["negative_similarity"]) >= 0.99995


def collapse_warning(recipe: str | None) -> str:
    """Return the warning about collapsed embeddings; the recipe of the run may be unknown."""
    advice = ("a lower learning rate, other --init_checkpoint or more data may help" if recipe == "corrected" else
              "--recipe=corrected trains on the full range of pixel values and on more negatives")
    return f"Warning: the embeddings have collapsed, the similarity of any two images is 1.0000; {advice}"

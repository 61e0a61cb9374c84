"""Lines and files that users of the original read, and what else is printed of an evaluation."""
from __future__ import annotations

from typing import Any, Mapping, Sequence


def time_history(first: int, last: int, batch_size: int, seconds: float) -> str:
    """The line of every 50 steps; an example is a triplet.

    Args:
        first: updates made before these steps.
        last: updates made after them.
        batch_size: triplets in a step.
        seconds: of the steps.
    """
    rate = batch_size * (last - first) / seconds if seconds else float("inf")
    return f"TimeHistory: {seconds:.2f} seconds, {rate:.2f} examples/second between steps {first} and {last}"


def epoch_lines(row: Mapping[str, Any], num_epochs: int) -> list[str]:
    """What Keras 2 prints of an epoch; Keras 3 has another line, which the users' scripts do not know."""
    steps = row["steps_per_epoch"]
    return [f"Epoch {row['epoch']}/{num_epochs}",
            f"{steps}/{steps} - {row['epoch_seconds']:.0f}s - loss: {row['train_loss']:.4f} - val_loss: "
            f"{row['valid_loss']:.4f}"]


def metric_line(row: Mapping[str, Any]) -> str:
    """What the original does not measure."""
    return (f"triplet_accuracy: {row['triplet_accuracy']:.4f} , recall@1: {row['cosine_recall_at_1']:.4f} , recall@5: "
            f"{row['cosine_recall_at_5']:.4f} , recall@10: {row['cosine_recall_at_10']:.4f} , median_rank: "
            f"{row['cosine_median_rank']:.1f} , positive_similarity: {row['positive_similarity']:.4f} , "
            f"negative_similarity: {row['negative_similarity']:.4f}")


def has_collapsed(row: Mapping[str, Any]) -> bool:
    """Whether all images of an evaluation have nearly the same embedding: their similarities are printed as 1.0000."""
    return min(row["positive_similarity"], row["negative_similarity"]) >= 0.99995


def collapse_warning(recipe: str | None) -> str:
    """The line about embeddings that have collapsed.

    Args:
        recipe: the run's, None if it is not known.
    """
    advice = ("a lower learning rate, other --init_checkpoint or more data may help" if recipe == "corrected" else
              "--recipe=corrected trains on the full range of pixel values and on more negatives")
    return f"Warning: the embeddings have collapsed, the similarity of any two images is 1.0000; {advice}"


def loss_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Content of train_<CaseName>_loss.txt: the training loss of each epoch."""
    return "".join(f"{row['train_loss']:.4f}\n" for row in rows)

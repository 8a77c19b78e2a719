"""Fine-tuning: batches, losses, steps, and what a run leaves behind."""

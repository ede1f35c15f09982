"""Models, losses, batches and schedules by name. torch and numpy only: nothing here knows Ray or the service."""

"""What a family's start is worth: with AdamW and under P, over contributors and rounds, against the same compute."""

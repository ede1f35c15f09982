"""What a step of WarpAdam costs, in time and in bytes, beside AdamW's on the same machine in the same run."""

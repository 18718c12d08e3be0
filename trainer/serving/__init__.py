"""What `trainer.serve` is made of: an exported model behind HTTP."""

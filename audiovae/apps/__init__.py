"""What a trained model is used for: transfer, embeddings, generation, the demo."""

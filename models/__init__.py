"""What one trial trains: settings, data and text, the Transformer policy, GAE and policy gradient, checkpoints."""

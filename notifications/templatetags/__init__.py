"""Tags of this app's templates, and of others that tell who was told."""

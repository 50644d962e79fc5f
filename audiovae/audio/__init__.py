"""Sound files, features and augmentation."""

"""Output: the engines of an accelerator as a folder that other tools read."""

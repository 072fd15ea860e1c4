"""The engines that need no torch, one library each; ``vadfast.runtime.engine`` chooses."""

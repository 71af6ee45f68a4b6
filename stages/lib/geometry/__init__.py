"""Where a face is and how it sits: the five-point template, the warp onto it, detection and pose."""

"""What MTL's students are compared with: optical flow, segmentation and depth, without torch. They run while a film is scored, too."""

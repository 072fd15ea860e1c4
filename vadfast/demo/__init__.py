"""The demonstration: every command of vadfast in turn, on a made scene, a data set or one's own film."""

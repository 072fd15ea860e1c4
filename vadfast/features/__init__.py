"""Features of films by published networks: 16 frames in, one vector out; weights come from a file of the user's."""

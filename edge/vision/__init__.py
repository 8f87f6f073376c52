"""From a frame to tracks: letterbox, scene gate, interpreter, decode, track."""

"""Photos as files and as pixels: decoding, encoding, color, metadata, tiles."""

"""Where each part of a photo lies in its references, and what they can give."""
